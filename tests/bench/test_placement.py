"""The placement's benchmarks on a little of their input: they run, count right, and read other files of the format."""

from pathlib import Path

import pytest

from aivailable.errors import UserError
from aivailable.placement import Planner, plan
from bench.placement import churn, openb, quality, utilisation
from bench.placement.catalogue import CATALOGUE, RACK, read_catalogue, read_rack
from bench.placement.worlds import after

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,1,1,2,T4\nn2,1,1,1,NEW\nn3,1,1,0,\n"
ASKS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
    "a,1,1,1,500,T4,LS,Running,0,100,0\nb,1,1,1,500,,LS,Running,1,100,0\nc,1,1,2,1000,,LS,Running,2,100,0\n"
    "d,1,1,0,0,,LS,Running,2,100,0\n"
)


@pytest.fixture
def trace(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "asks.csv").write_text(ASKS)
    return tmp_path / "nodes.csv", tmp_path / "asks.csv"


def test_asks_take_their_share_of_the_card_tried_and_whole_cards_of_one_node(trace: tuple[Path, Path]) -> None:
    asks = openb.read_asks(trace[1])
    made = Planner(openb.AskJudge()).plan(openb.fleet_of(asks), openb.read_nodes(trace[0]))

    where = {p.spec.model: (p.node, p.slices) for p in made.placements}
    assert where["c"] == ("n1", (30, 30))
    assert where["b"] == ("n2", (24,))
    assert [u.model for u in made.unplaced] == ["a"]


def test_the_trace_as_shipped_has_the_size_it_is_said_to_have() -> None:
    cards = openb.cards_by_name(openb.read_nodes(openb.NODES))
    assert sum(cards.values()) == 6212
    assert len(openb.read_asks(openb.ASKS)) == 7064


def test_a_file_of_another_form_is_refused_with_its_column(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="column"):
        openb.read_nodes(tmp_path / "x.csv")
    with pytest.raises(UserError, match="No such file"):
        read_rack(tmp_path / "none.csv")
    with pytest.raises(UserError, match="'vram_mib'"):
        read_rack(tmp_path / "x.csv")


def test_nothing_is_left_to_do_after_a_plan_was_carried_out(trace: tuple[Path, Path]) -> None:
    planner, rack = Planner(openb.AskJudge()), openb.read_nodes(trace[0])
    fleet = openb.fleet_of(openb.read_asks(trace[1])[:2])
    made = planner.plan(fleet, rack)

    assert planner.plan(fleet, after(made, rack)).actions == ()


def test_an_instance_is_compared_with_its_optimum() -> None:
    pytest.importorskip("ortools", reason="the extra `exact` is not installed")
    found = quality.compare(0)

    assert found.optimal
    assert 0.97 * found.best <= found.ours <= found.best


def test_every_rule_fills_the_rack_and_none_more_than_there_is() -> None:
    rack, entries = read_rack(RACK), read_catalogue(CATALOGUE)
    assert len(rack.nodes) == 24
    assert len(entries) == 30
    placed = utilisation._fill(entries, utilisation._by_rule(rack, utilisation._one_per_card))
    assert 0 < len(placed) <= 58


def test_lifetimes_are_stretched_until_the_cards_are_all_asked_for(trace: tuple[Path, Path]) -> None:
    asks = openb.read_asks(trace[1])
    longer = churn.stretched(asks, 10)

    assert churn.measure(*trace, limit=2)[1]["refused"] == 0
    assert all(a.created_s == b.created_s for a, b in zip(asks, longer, strict=True))
    assert plan(openb.fleet_of([]), openb.read_nodes(trace[0])).actions == ()
