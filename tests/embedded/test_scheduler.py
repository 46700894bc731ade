"""Where jobs go, without processes."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.embedded.job import Job
from aivailable.embedded.jobspec import parse_job
from aivailable.embedded.scheduler import Placed, Waiting, place
from aivailable.model.cards import Node
from tests.embedded.jobs import job, nodes
from tests.samples import card, node


def put(text: str, where: tuple[Node, ...] = nodes(), used: frozenset[str] = frozenset()) -> Placed | Waiting:
    return place(parse_job(text), where, used, rng=Random(0))


def on_node(outcome: Placed | Waiting) -> str:
    assert isinstance(outcome, Placed)
    return outcome.node.name


def block(kind: str, attribute: str, value: str, operator: str = "=") -> str:
    weight = "weight = 100\n" if kind == "affinity" else ""
    return f'{kind} {{\n attribute = "{attribute}"\n operator = "{operator}"\n value = "{value}"\n {weight}}}'


def test_a_block_never_spans_two_cards() -> None:
    two = (node("n", card("A", 2048, node="n"), card("B", 2048, node="n", index=1)),)

    assert isinstance(put(job(slices=5), two), Waiting)
    placed = put(job(slices=4), two)
    assert isinstance(placed, Placed)
    assert len({slice_id.rpartition("/")[0] for _, ids in placed.devices for slice_id in ids}) == 1


def test_affinities_decide_and_constraints_forbid() -> None:
    for name in ("node1", "node2"):
        assert on_node(put(job(group=block("affinity", "${node.unique.id}", f"id-{name}")))) == name
        assert on_node(put(job(device=block("affinity", "${device.attr.uuid}", f"GPU-{name}-0")))) == name
        assert on_node(put(job(group=block("constraint", "${node.unique.name}", name)))) == name
    assert on_node(put(job(group=block("constraint", "${node.class}", "old", "!=")))) == "node2"
    assert on_node(put(job(device=block("constraint", "${device.attr.memory}", "3 GiB", ">=")))) == "node2"


def test_without_affinity_the_choice_is_random_and_repeatable() -> None:
    text = parse_job(job(slices=1))
    chosen = [on_node(place(text, nodes(), frozenset(), rng=Random(seed))) for seed in range(20)]

    assert set(chosen) == {"node1", "node2"}
    assert chosen == [on_node(place(text, nodes(), frozenset(), rng=Random(seed))) for seed in range(20)]


def test_a_node_to_avoid_is_taken_only_when_no_other_fits() -> None:
    text = parse_job(job(slices=4))

    assert on_node(place(text, nodes(), frozenset(), rng=Random(1), avoid=frozenset({"node2"}))) == "node1"
    text = parse_job(job(slices=5))
    assert on_node(place(text, nodes(), frozenset(), rng=Random(1), avoid=frozenset({"node2"}))) == "node2"


def test_a_waiting_job_says_why() -> None:
    outcome = put(job(slices=9))
    assert isinstance(outcome, Waiting)
    assert outcome.note == "waits: no card with 9 free slices (2)"
    outcome = put(job().replace('device "nvidia/vram"', 'device "amd/vram"'))
    assert isinstance(outcome, Waiting)
    assert outcome.note == "waits: no card matches amd/vram (2)"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 8)),
        st.tuples(st.just("stop"), st.integers(0, 9)),
        st.tuples(st.just("down"), st.sampled_from(["node1", "node2"])),
        st.tuples(st.just("up"), st.sampled_from(["node1", "node2"])),
    ),
    max_size=30,
)
PARSED: dict[int, Job] = {}


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 3))
def test_no_slice_ever_has_two_tenants(steps: list[tuple[str, int | str]], seed: int) -> None:
    rack = {n.name: n for n in nodes()}
    running: list[tuple[str, frozenset[str]]] = []
    rng = Random(seed)
    for step, value in steps:
        if step == "submit":
            asked = PARSED.setdefault(int(value), parse_job(job(slices=int(value))))
            used = frozenset(s for _, ids in running for s in ids)
            outcome = place(asked, list(rack.values()), used, rng=rng)
            if isinstance(outcome, Placed):
                ids = frozenset(s for _, each in outcome.devices for s in each)
                assert len(ids) == value
                assert not ids & used
                assert rack[outcome.node.name].ready
                running.append((outcome.node.name, ids))
        elif step == "stop" and running:
            running.pop(int(value) % len(running))
        elif step in {"down", "up"}:
            name = str(value)
            rack[name] = node(name, *rack[name].cards, ready=step == "up")
            running = [entry for entry in running if entry[0] != name or step == "up"]
