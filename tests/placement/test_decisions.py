"""What the planner decides when there is not room for everything: who goes first, who moves, who gives way, and why."""

from dataclasses import replace

import pytest

from aivailable.errors import UserError
from aivailable.model.cards import Card
from aivailable.model.fleet import ModelSpec
from aivailable.model.plan import Move, Plan, Start, Stop
from aivailable.model.profile import Profile
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import defragment, plan, survival, without_nodes
from tests.placement.world import World, moved
from tests.samples import EIGHT_B, SMALL, card, fleet, model, node, variant


def gguf(gib: float) -> Profile:
    """A model whose replica with one request of 1,024 tokens claims a little more than this."""
    return replace(SMALL, weights_bytes=round(gib * 2**30))


def sized(name: str, gib: float, **facts: object) -> ModelSpec:
    return model(name, gguf(gib), **{"context": 1024, "concurrency": 1, **facts})


def rack(*sizes_gib: int, per_node: int = 1) -> Snapshot:
    """Simulated cards of these sizes, so many on each node."""
    cards = [(f"n{number // per_node}", number % per_node, gib) for number, gib in enumerate(sizes_gib)]
    names = dict.fromkeys(name for name, _, _ in cards)
    return Snapshot(
        nodes=tuple(
            node(
                name,
                *(card(f"C{gib}", gib * 1024, node=name, index=i, simulated=True) for n, i, gib in cards if n == name),
            )
            for name in names
        )
    )


def serving(made: Plan) -> set[tuple[str, int]]:
    return {(p.spec.model, p.replica) for p in made.placements}


def test_a_higher_priority_evicts_the_fewest_and_says_for_whom() -> None:
    world = World(rack(16))
    world.settle(fleet(sized("small", 3, priority=10), sized("medium", 7, priority=20)))
    wanted = fleet(sized("small", 3, priority=10), sized("medium", 7, priority=20), sized("large", 8, priority=90))

    made = plan(wanted, world.snapshot())

    (stop,) = [a for a in made.actions if isinstance(a, Stop)]
    assert stop.replica.model == "medium"
    assert stop.why == "makes room for large replica 0, which matters more"
    (start,) = [a for a in made.actions if isinstance(a, Start)]
    assert start.waits_for == (stop.replica.job,)
    assert [u.model for u in made.unplaced] == ["medium"]
    assert serving(world.settle(wanted)) == {("small", 0), ("large", 0)}


def test_of_equal_ones_the_cheapest_to_load_again_and_least_asked_is_evicted() -> None:
    world = World(rack(16))
    both = (sized("busy", 6, priority=10), sized("idle", 6, priority=10))
    world.settle(fleet(*both))
    snapshot = world.snapshot()
    load = {"busy": 5.0, "idle": 0.0}
    snapshot = replace(
        snapshot, replicas=tuple(replace(r, load_s=10.0, requests_per_s=load[r.model]) for r in snapshot.replicas)
    )

    made = plan(fleet(*both, sized("large", 7, priority=90)), snapshot)

    assert [a.replica.model for a in made.actions if isinstance(a, Stop)] == ["idle"]


def test_equal_priority_evicts_nobody() -> None:
    world = World(rack(8))
    world.settle(fleet(sized("a", 5)))

    made = plan(fleet(sized("a", 5), sized("b", 6)), world.snapshot())

    assert made.actions == ()
    assert [u.model for u in made.unplaced] == ["b"]
    assert any("by stopping a replica 0 (priority 50)" in text for text in made.unplaced[0].would_help)


def test_the_second_replica_of_a_high_priority_gives_way_to_the_first_of_a_low_one() -> None:
    world = World(rack(8, 8))
    world.settle(fleet(sized("high", 5, priority=90, replicas=2)))
    wanted = fleet(sized("high", 5, priority=90, replicas=2), sized("low", 5, priority=1))

    assert {m for m, _ in serving(world.settle(wanted))} == {"high", "low"}


def test_others_move_over_when_that_gives_room_and_the_move_starts_before_it_stops() -> None:
    """8 and 4 GiB: the small one stands on the large card, because it was there first."""
    world = World(rack(8, 4))
    world.settle(fleet(sized("first", 3)))
    (job,) = world.replicas
    assert world.re_place(job, "n0")
    world.pass_time()
    wanted = fleet(sized("first", 3), sized("large", 6))

    made = plan(wanted, world.snapshot())

    assert [type(a) for a in made.actions] == [Move, Start]
    assert made.actions[0].why == "makes room for large replica 0; 0 MiB stay free"
    assert isinstance(made.actions[1], Start)
    assert made.actions[1].waits_for == (job,)
    assert made.unplaced == ()
    assert serving(world.settle(wanted)) == {("first", 1), ("large", 0)}


def test_without_room_for_both_the_cheapest_stops_first() -> None:
    """Two full cards whose tenants have to change places."""
    world = World(rack(8, 9))
    world.settle(fleet(sized("a", 5), sized("b", 1)))
    wanted = fleet(sized("a", 5), sized("b", 1), sized("c", 7.2), sized("d", 0.2))

    world.settle(wanted)

    assert {r.model for r in world.replicas.values()} >= {"a", "c"}


def test_a_smaller_variant_makes_room_before_anything_is_refused() -> None:
    two = (variant(gguf(9), "/m/large.gguf"), variant(gguf(3), "/m/small.gguf"))
    made = plan(fleet(replace(sized("a", 9), variants=two), sized("b", 6, priority=10)), rack(12))

    assert made.unplaced == ()
    assert {p.spec.model: p.spec.variant.source for p in made.placements}["a"] == "/m/small.gguf"


def test_a_running_replica_is_not_made_smaller_for_one_that_matters_less() -> None:
    two = (variant(gguf(9), "/m/large.gguf"), variant(gguf(3), "/m/small.gguf"))
    important = replace(sized("a", 9), variants=two, priority=90)
    world = World(rack(12))
    world.settle(fleet(important))

    made = plan(fleet(important, sized("b", 6, priority=10)), world.snapshot())

    assert made.actions == ()
    assert [u.model for u in made.unplaced] == ["b"]


def test_replicas_go_to_other_nodes_racks_and_classes() -> None:
    def spread(**facts: list[str]) -> list[str]:
        nodes = [
            replace(n, **{key: values[number] for key, values in facts.items()})  # type: ignore[arg-type] # Node's own
            for number, n in enumerate(rack(8, 8, 8).nodes)
        ]
        made = plan(fleet(sized("a", 3, replicas=2)), Snapshot(nodes=tuple(nodes)))
        return sorted(p.node for p in made.placements)

    assert spread() == ["n0", "n1"]
    assert spread(rack=["r1", "r1", "r2"]) == ["n0", "n2"]
    assert spread(rack=["r1", "r1", "r1"], node_class=["x", "x", "y"]) == ["n0", "n2"]


def test_tensor_parallel_uses_equal_cards_of_one_node_and_as_few_as_hold_it() -> None:
    def cards(name: str, count: int) -> tuple[Card, ...]:
        return tuple(card("RTX 3080", 10240, node=name, index=i, compute_capability=8.6) for i in range(count))

    mixed = node("mixed", *cards("mixed", 1), card("Tesla T4", 15360, node="mixed", index=1))
    made = plan(fleet(model("a", EIGHT_B, concurrency=1)), Snapshot(nodes=(mixed, node("pair", *cards("pair", 4)))))

    (placement,) = made.placements
    assert (placement.node, placement.cards, placement.indexes) == (
        "pair",
        ("GPU-pair-0", "GPU-pair-1", "GPU-pair-2", "GPU-pair-3"),
        (0, 1, 2, 3),
    ) or len(placement.cards) == 2
    assert placement.flags[placement.flags.index("--tensor-parallel-size") + 1] == str(len(placement.cards))
    odd = replace(EIGHT_B, heads=7, kv_heads=7)
    assert (
        plan(fleet(model("a", odd, concurrency=1)), Snapshot(nodes=(node("pair", *cards("pair", 4)),))).placements == ()
    )


def test_a_model_for_several_cards_is_refused_where_no_node_has_as_many() -> None:
    alone = [node(f"n{i}", card("RTX 3080", 10240, node=f"n{i}", compute_capability=8.6)) for i in range(2)]
    (missing,) = plan(fleet(model("a", EIGHT_B, concurrency=1)), Snapshot(nodes=tuple(alone))).unplaced

    assert [(r.rule, r.count) for r in missing.reasons] == [("card size", 2)]
    assert (
        "no node has 4 equal ones" in missing.reasons[0].text or "no node has 2 equal ones" in missing.reasons[0].text
    )


def test_what_if_a_node_were_lost() -> None:
    world = World(rack(10, 10))
    wanted = fleet(sized("twice", 3, replicas=2), sized("once", 3.5))
    made = world.settle(wanted)
    (lost,) = [p.node for p in made.placements if p.spec.model == "once"]
    snapshot = without_nodes(world.snapshot(), [lost])

    told = {
        s.model: (s.wanted, s.left, s.replaced, s.unplaced) for s in survival(wanted, snapshot, plan(wanted, snapshot))
    }

    assert told == {"twice": (2, 1, 0, 1), "once": (1, 0, 1, 0)}
    with pytest.raises(UserError, match="no node is named n7"):
        without_nodes(world.snapshot(), ["n7"])


def test_defragmentation_proposes_the_cheapest_moves_that_open_the_largest_hole() -> None:
    world = World(rack(8, 8))
    wanted = fleet(sized("a", 3), sized("b", 3))
    world.settle(wanted)
    assert {r.node for r in world.replicas.values()} == {"n0"}
    assert world.re_place(next(iter(world.replicas)), "n1")
    world.pass_time()

    made, hole = defragment(wanted, world.snapshot())

    assert hole.after_mib == 8192 > hole.before_mib
    assert len(moved(made)) == len(made.actions) == 1
    tight = World(rack(8))
    tight.settle(fleet(sized("a", 3)))
    assert defragment(fleet(sized("a", 3)), tight.snapshot())[1].after_mib == 8192 - sum(
        r.claim_mib[0] for r in tight.replicas.values()
    )
    with pytest.raises(UserError, match="first things first"):
        defragment(wanted, rack(8, 8))


def test_moves_in_progress_are_finished_not_begun_again() -> None:
    """As long as the replica that replaces another loads, there is nothing to do. Then the old one stops."""
    world = World(rack(8, 4))
    world.settle(fleet(sized("first", 3)))
    (old,) = world.replicas
    world.re_place(old, "n0")
    world.pass_time()
    wanted = fleet(sized("first", 3), sized("large", 6))
    for action in plan(wanted, world.snapshot()).actions:
        world.carry_out(action)

    assert [a for a in plan(wanted, world.snapshot()).actions if not getattr(a, "waits_for", ())] == []
    world.replicas = {j: replace(r, state=ReplicaState.SERVING) for j, r in world.replicas.items()}
    stops = [a for a in plan(wanted, world.snapshot()).actions if isinstance(a, Stop)]
    assert [(a.replica.job, a.why) for a in stops] == [(old, "its replacement on n1 serves")]


def test_a_number_that_was_replaced_is_not_used_again_while_its_successor_lives() -> None:
    world = World(rack(8, 8))
    wanted = fleet(sized("a", 3, replicas=2))
    world.settle(wanted)
    first, second = sorted(world.replicas)
    world.replicas[second] = replace(world.replicas[second], replaces="llm-a-5-" + second.rpartition("-")[2])
    grown = plan(fleet(sized("a", 3, replicas=4)), world.snapshot())

    assert sorted(a.placement.replica for a in grown.actions if isinstance(a, Start)) == [2, 3]
    again = replace(world.replicas[second], replaces="llm-a-2-" + second.rpartition("-")[2])
    world.replicas[second] = again
    grown = plan(fleet(sized("a", 3, replicas=4)), world.snapshot())
    assert sorted(a.placement.replica for a in grown.actions if isinstance(a, Start)) == [3, 4]
    assert first in world.replicas


def test_100_000_replicas_are_answered_at_once_and_in_one_sentence() -> None:
    made = plan(fleet(sized("a", 3, replicas=100_000)), rack(8, 8))

    assert len(made.placements) == 4
    (missing,) = made.unplaced
    assert (missing.count, missing.replica) == (99_996, 4)
    assert missing.reasons[0].rule == "free memory"


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"total_mib": 0, "free_slices": 0}, "card size"),
        ({"total_mib": 300, "free_slices": 0}, "card size"),
        ({"slice_mib": 0}, "card size"),
        ({"free_slices": -3}, "free memory"),
        ({"foreign_mib": 10**9}, "free memory"),
        ({"healthy": False}, "health"),
    ],
)
def test_a_broken_card_is_a_reason_never_an_exception(broken: dict[str, object], rule: str) -> None:
    whole = card("C", 8192, node="n", simulated=True)
    snapshot = Snapshot(nodes=(node("n", replace(whole, **broken)),))  # type: ignore[arg-type] # Card's own fields

    (missing,) = plan(fleet(sized("a", 3)), snapshot).unplaced

    assert rule in [reason.rule for reason in missing.reasons]


def test_cards_that_report_one_uuid_are_not_used_and_the_others_are() -> None:
    twin = card("C", 8192, node="n", simulated=True)
    other = card("C", 8192, node="m", simulated=True)
    made = plan(
        fleet(sized("a", 3, replicas=3)), Snapshot(nodes=(node("n", twin, replace(twin, index=1)), node("m", other)))
    )

    assert {p.node for p in made.placements} == {"m"}
    assert "two cards report the same uuid" in next(r.text for r in made.unplaced[0].reasons if r.rule == "uuid")


def test_a_replica_whose_node_card_or_variant_has_gone_keeps_its_number() -> None:
    world = World(rack(8, 8))
    wanted = fleet(sized("a", 3, replicas=2))
    world.settle(wanted)
    snapshot = world.snapshot()
    without = Snapshot(nodes=snapshot.nodes[:1], replicas=snapshot.replicas)

    assert plan(wanted, without).actions == ()
    assert plan(wanted, Snapshot(nodes=(), replicas=snapshot.replicas)).actions == ()


def test_contradicting_wishes_name_the_wish() -> None:
    wish = replace(sized("a", 3), where=replace(sized("a", 3).where, vendor="amd", card="C8"))
    (missing,) = plan(fleet(wish), rack(8)).unplaced

    assert missing.reasons[0].text == "`where` asks for vendor = amd"


def test_where_vllm_starts_one_start_or_stop_is_under_way_on_a_card_at_a_time() -> None:
    """Three replicas of vLLM on one card: each waits for the one before; a stop waits for what starts beside it."""
    large = card("NVIDIA H100", 81920, node="n", compute_capability=9.0)
    world = World(Snapshot(nodes=(node("n", large),)))
    wanted = fleet(model("a", EIGHT_B, replicas=3, concurrency=1))

    first, second, third = plan(wanted, world.snapshot()).actions

    assert (first.waits_for, len(second.waits_for), len(third.waits_for)) == ((), 1, 2)
    world.carry_out(first)
    assert [a.waits_for for a in plan(fleet(), world.snapshot()).actions] == [()]  # its own start does not keep it
    (loading,) = world.replicas
    other = replace(world.replicas[loading], model="b", job="llm-b-0-x", state=ReplicaState.SERVING)
    crowded = replace(world.snapshot(), replicas=(world.replicas[loading], other))
    assert [a.waits_for for a in plan(wanted, crowded).actions if isinstance(a, Stop)] == [(loading,)]
    failed = replace(crowded, replicas=(replace(world.replicas[loading], failures=1), other))
    assert [a.waits_for for a in plan(wanted, failed).actions if isinstance(a, Stop)] == [()]
    world.settle(wanted)
    assert len(world.replicas) == 3


def test_llamacpp_starts_side_by_side() -> None:
    made = plan(fleet(sized("a", 3, replicas=2)), rack(16))

    assert [a.waits_for for a in made.actions] == [(), ()]
