"""The planner: what is promised of every plan, and the reasons it gives."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.model.fleet import Fleet, ModelSpec, Where
from aivailable.model.plan import Move, Plan, Start, Stop, Unplaced
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from tests.placement.world import begun
from tests.samples import EIGHT_B, SMALL, card, fleet, model, node, rack, variant

SERVING, LOADING, PENDING = ReplicaState.SERVING, ReplicaState.LOADING, ReplicaState.PENDING


def applied(made: Plan, snapshot: Snapshot, *, state: ReplicaState = SERVING) -> Snapshot:
    """The snapshot after the actions were carried out, as Nomad would."""
    gone = {a.replica.job for a in made.actions if isinstance(a, Stop)}
    gone |= {r.job for r in snapshot.replicas if r.state is ReplicaState.STOPPING}
    replicas = [r for r in snapshot.replicas if r.job not in gone]
    replicas += [begun(a.placement, state) for a in made.actions if isinstance(a, Start | Move)]
    return with_replicas(snapshot, *replicas)


def with_replicas(snapshot: Snapshot, *replicas: Replica) -> Snapshot:
    """The snapshot with exactly these replicas, slices counted."""
    taken: dict[str, int] = {}
    for replica in replicas:
        for uuid, mib in zip(replica.cards, replica.claim_mib, strict=True):
            taken[uuid] = taken.get(uuid, 0) + mib // 512
    nodes = tuple(
        replace(n, cards=tuple(replace(c, free_slices=c.slices - taken.get(c.uuid, 0)) for c in n.cards))
        for n in snapshot.nodes
    )
    return Snapshot(nodes=nodes, replicas=replicas)


def assert_valid_in_order(made: Plan, snapshot: Snapshot) -> None:
    """No card holds more than it can after any action; what waits, waits for what an earlier action ends."""
    free = {c.uuid: c.free_slices for n in snapshot.nodes for c in n.cards}
    ended = {r.job for r in snapshot.replicas if r.state is ReplicaState.STOPPING}
    begun = {r.job for r in snapshot.replicas if r.state is not ReplicaState.SERVING}
    for action in made.actions:
        if isinstance(action, Start | Move):
            assert set(action.waits_for) <= ended | begun
            begun.add(action.placement.job_id)
            for uuid, slices in zip(action.placement.cards, action.placement.slices, strict=True):
                free[uuid] -= slices
                assert free[uuid] >= 0
        if isinstance(action, Stop | Move) and not _goes_on_serving(action):
            ended.add(action.replica.job)
            for uuid, mib in zip(action.replica.cards, action.replica.claim_mib, strict=True):
                free[uuid] += mib // 512


def _goes_on_serving(action: Stop | Move) -> bool:
    """An outdated replica serves on beside its successor; the next plan stops it."""
    return isinstance(action, Move) and action.placement.replaces != action.replica.job


def steady(wanted: Fleet, snapshot: Snapshot | None = None) -> Snapshot:
    """The rack with the fleet running on it."""
    start = snapshot or rack()
    return applied(plan(wanted, start), start)


def only_unplaced(made: Plan) -> Unplaced:
    (unplaced,) = made.unplaced
    return unplaced


def test_replicas_of_one_model_go_to_different_nodes() -> None:
    made = plan(fleet(model(replicas=3)), rack())

    assert len({p.node for p in made.placements}) == 3
    assert [a.placement.replica for a in made.actions if isinstance(a, Start)] == [0, 1, 2]


def test_several_engines_share_a_card() -> None:
    alone = Snapshot(nodes=(rack().nodes[1],))
    made = plan(fleet(model("a"), model("b"), model("c")), alone)

    assert len(made.placements) == 3
    assert len({p.cards for p in made.placements}) == 1  # the smallest hole that is left


def test_the_preferred_variant_runs_where_its_engine_does_else_the_next() -> None:
    both = model(
        variants=(variant(replace(SMALL, format=EIGHT_B.format), "/m/safetensors"), variant(SMALL, "/m/x.gguf")),
        replicas=2,
    )
    turing = plan(fleet(both), rack())
    assert {p.spec.engine.value for p in turing.placements if p.node == "node1"} == {"vllm"}
    pascal_only = Snapshot(nodes=(rack().nodes[1],))
    assert {p.spec.engine.value for p in plan(fleet(both), pascal_only).placements} == {"llamacpp"}


def test_the_first_replica_of_every_model_comes_before_the_second_of_any() -> None:
    tight = Snapshot(nodes=(node("n", card("C", 2048, node="n", simulated=True)),))
    made = plan(fleet(model("a", replicas=2, priority=90), model("b", replicas=2, priority=10)), tight)

    assert [(p.spec.model, p.replica) for p in made.placements] == [("a", 0), ("b", 0)]
    assert [(u.model, u.replica) for u in made.unplaced] == [("a", 1), ("b", 1)]


def test_planning_after_applying_gives_no_action() -> None:
    wanted = fleet(model("a", replicas=3), model("b", replicas=2))

    assert plan(wanted, steady(wanted)).actions == ()


@pytest.mark.parametrize("state", [LOADING, PENDING, ReplicaState.FETCHING, ReplicaState.UNHEALTHY])
def test_a_replica_on_its_way_is_left_alone(state: ReplicaState) -> None:
    wanted = fleet(model("a", replicas=2))
    running = steady(wanted)
    changed = tuple(replace(r, state=state) for r in running.replicas)
    if state is PENDING:
        changed = tuple(replace(r, node="", cards=(), claim_mib=(), alloc="") for r in changed)

    made = plan(wanted, with_replicas(running, *changed))

    assert made.actions == ()
    assert made.unplaced == ()


def test_a_replica_that_has_its_slices_and_waits_for_its_task_is_placed_where_it_is() -> None:
    wanted = fleet(model("a", profile=EIGHT_B))
    only = node("n", card("RTX 3090", 24576, node="n", compute_capability=8.6))
    running = steady(wanted, Snapshot(nodes=(only,)))
    pending = with_replicas(running, *(replace(r, state=PENDING) for r in running.replicas))

    made = plan(wanted, pending)

    assert (made.actions, made.unplaced) == ((), ())
    assert [p.node for p in made.placements] == ["n"]


def test_a_removed_model_and_surplus_replicas_stop_with_the_reason() -> None:
    running = steady(fleet(model("a", replicas=3), model("b")))

    made = plan(fleet(model("a", replicas=1)), running)

    assert [(a.replica.model, a.why) for a in made.actions if isinstance(a, Stop)] == [
        ("b", "the fleet does not have this model"),
        ("a", "the fleet wants 1"),
        ("a", "the fleet wants 1"),
    ]
    assert [p.replica for p in made.placements] == [0]


def test_a_replica_that_does_not_serve_is_the_first_to_go() -> None:
    running = steady(fleet(model("a", replicas=2)))
    first = replace(running.replicas[0], state=LOADING)

    made = plan(fleet(model("a", replicas=1)), with_replicas(running, first, running.replicas[1]))

    assert [a.replica.replica for a in made.actions if isinstance(a, Stop)] == [0]


def test_a_changed_spec_starts_beside_the_old_and_stops_it_when_the_new_serves() -> None:
    running = steady(fleet(model("a", replicas=2)))
    changed = fleet(model("a", replicas=2, context=1024))

    first = plan(changed, running)
    assert [type(a) for a in first.actions] == [Move, Move]
    loading = applied(first, running, state=LOADING)
    assert plan(changed, loading).actions == ()
    serving = applied(first, running)
    second = plan(changed, serving)
    assert {type(a) for a in second.actions} == {Stop}
    assert len(second.actions) == 2
    assert plan(changed, applied(second, serving)).actions == ()


def test_without_room_for_both_the_old_one_stops_first() -> None:
    small = Snapshot(nodes=(node("n", card("C", 1024, node="n", simulated=True)),))
    running = steady(fleet(model("a")), small)

    made = plan(fleet(model("a", context=1024)), running)

    assert [type(a) for a in made.actions] == [Stop, Start]
    assert plan(fleet(model("a", context=1024)), applied(made, running)).actions == ()


def test_what_nomad_cannot_re_place_in_its_class_is_placed_in_another() -> None:
    """Both NVIDIA nodes are down; the replica waits for NVIDIA and the AMD card is free."""
    wanted = fleet(model("a"))
    running = steady(wanted)
    waiting = replace(running.replicas[0], state=ReplicaState.LOST, node="", cards=(), claim_mib=())
    down = tuple(replace(n, ready=n.name == "node3") for n in running.nodes)

    made = plan(wanted, with_replicas(replace(running, nodes=down), waiting))

    assert [type(a) for a in made.actions] == [Stop, Start]
    assert made.placements[0].node == "node3"
    assert made.placements[0].requirement.vendor == "amd"


def test_a_lost_replica_that_nomad_can_place_is_left_to_nomad_and_spread_again_when_it_serves() -> None:
    """Another node's card of its vendor has room. Once it serves there, beside the other, one of them moves."""
    wanted = fleet(model("a", replicas=2))
    running = steady(wanted)
    kept, lost = running.replicas
    assert {kept.node, lost.node} == {"node1", "node2"}
    down = tuple(replace(n, ready=n.name != lost.node) for n in running.nodes)
    gone = replace(lost, state=ReplicaState.LOST, node="", cards=(), claim_mib=())

    made = plan(wanted, with_replicas(replace(running, nodes=down), kept, gone))

    assert made.actions == ()
    loading = replace(lost, node=kept.node, cards=kept.cards, state=LOADING)
    assert (
        plan(wanted, with_replicas(replace(running, nodes=down), replace(kept, state=LOADING), loading)).actions == ()
    )
    together = with_replicas(replace(running, nodes=down), kept, replace(loading, state=SERVING))
    (move,) = plan(wanted, together).actions
    assert isinstance(move, Move)
    assert move.placement.node == "node3"
    assert move.why.startswith("keeps its model on two nodes")


def test_an_id_that_is_still_stopping_is_not_started_again() -> None:
    wanted = fleet(model("a"))
    running = steady(wanted)
    stopping = replace(running.replicas[0], state=ReplicaState.STOPPING)

    (start,) = plan(wanted, with_replicas(running, stopping)).actions
    assert isinstance(start, Start)
    assert start.waits_for == (stopping.job,)
    assert [type(a) for a in plan(wanted, with_replicas(running)).actions] == [Start]


def test_a_model_too_large_for_every_card_is_refused_with_the_missing_mib() -> None:
    unplaced = only_unplaced(plan(fleet(model("big", SMALL, context=8192, concurrency=200)), rack()))

    (reason,) = unplaced.reasons
    assert reason.rule == "card size"
    assert reason.count == 5
    assert reason.nearest[0].node == "node3"
    need_mib = 16368 // 512 * 512 + reason.nearest[0].short_mib
    assert reason.text == f"needs {need_mib} MiB, more than the whole card has"
    assert [near.short_mib for near in reason.nearest] == sorted(near.short_mib for near in reason.nearest)
    assert any("concurrency = " in text for text in unplaced.would_help)


def test_what_would_help_does() -> None:
    spec = model("big", SMALL, context=8192, concurrency=200)
    (hint,) = [text for text in only_unplaced(plan(fleet(spec), rack())).would_help if "concurrency" in text]
    fewer = int(hint.split()[2])

    assert plan(fleet(replace(spec, concurrency=fewer)), rack()).unplaced == ()
    assert plan(fleet(replace(spec, concurrency=fewer + 1)), rack()).unplaced != ()


def test_every_rule_that_forbids_is_told_once_with_its_count() -> None:
    down, draining = replace(rack().nodes[1], ready=False), replace(rack().nodes[2], eligible=False)
    sick = replace(rack().nodes[0], cards=tuple(replace(c, healthy=False) for c in rack().nodes[0].cards))
    made = plan(fleet(model()), Snapshot(nodes=(sick, down, draining)))

    assert [(r.rule, r.count) for r in only_unplaced(made).reasons] == [("health", 2), ("node", 3)]


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (model(where=Where(vendor="amd", card="*1080*")), "where"),
        (model(where=Where(node_class="gpu")), "where"),
        (model(profile=EIGHT_B, where=Where(card="*gtx*")), "engine"),
        (model(context=16384), "context"),
        (replace(model(), variants=(replace(variant(SMALL), resolved=None),)), "source"),
    ],
)
def test_rules_that_are_not_about_memory_have_names(spec: ModelSpec, rule: str) -> None:
    assert rule in [r.rule for r in only_unplaced(plan(fleet(spec), rack())).reasons]


def test_a_driver_that_the_node_lacks_is_told() -> None:
    nodes = tuple(replace(n, drivers=("raw_exec",)) for n in rack().nodes)
    made = plan(fleet(model(), driver="docker"), Snapshot(nodes=nodes))

    assert only_unplaced(made).reasons[0].text == "the node has no healthy task driver `docker`"


def test_a_node_without_cni_plugins_takes_no_engine_with_a_network_of_its_own() -> None:
    nodes = tuple(replace(n, bridge=False) for n in rack().nodes)

    reasons = only_unplaced(plan(fleet(model(), mesh="bridge"), Snapshot(nodes=nodes))).reasons
    assert [(reason.rule, reason.text) for reason in reasons] == [
        ("mesh", 'the node has no CNI plugins, which mesh = "bridge" needs')
    ]
    assert plan(fleet(model(), mesh="host"), Snapshot(nodes=nodes)).placements


def test_memory_that_others_hold_is_not_given_away() -> None:
    taken = tuple(replace(n, cards=tuple(replace(c, foreign_mib=c.total_mib) for c in n.cards)) for n in rack().nodes)

    assert only_unplaced(plan(fleet(model()), Snapshot(nodes=taken))).reasons[0].rule == "free memory"


def test_cards_show_before_and_after() -> None:
    wanted = fleet(model("a"))
    running = steady(wanted)
    uses = {c.uuid: (c.before_mib, c.after_mib) for c in plan(fleet(), running).cards}

    assert uses[running.replicas[0].cards[0]] == (1024, 0)


MODELS = st.lists(
    st.builds(
        model,
        name=st.sampled_from(["a", "b", "c", "d"]),
        profile=st.sampled_from([SMALL, EIGHT_B]),
        replicas=st.integers(1, 4),
        priority=st.integers(1, 100),
        context=st.sampled_from([1024, 2048, 8192]),
        concurrency=st.integers(1, 40),
    ),
    max_size=4,
    unique_by=lambda m: m.name,
)


@settings(max_examples=120, deadline=None)
@given(MODELS, MODELS)
def test_of_every_plan(first: list[ModelSpec], second: list[ModelSpec]) -> None:
    """Never over-committed, priorities respected, idempotent, every replica accounted for; also from a fleet in use."""
    snapshot = rack()
    for wanted in (fleet(*first), fleet(*second)):
        for _ in range(6):
            made = plan(wanted, snapshot)
            counted = Counter(p.spec.model for p in made.placements)
            counted.update({u.model: u.count for u in (*made.unplaced, *made.deferred)})
            assert counted == Counter({m.name: m.replicas for m in wanted.models})
            assert len({(p.spec.model, p.replica) for p in made.placements}) == len(made.placements)
            assert_valid_in_order(made, snapshot)
            assert all(c.after_mib <= c.total_mib for c in made.cards)
            snapshot = applied(made, snapshot)
            assert all(c.free_slices >= 0 for n in snapshot.nodes for c in n.cards)
        assert plan(wanted, snapshot).actions == ()


@settings(max_examples=60, deadline=None)
@given(MODELS)
def test_the_same_input_gives_the_same_plan(models: list[ModelSpec]) -> None:
    assert plan(fleet(*models), rack()) == plan(fleet(*models), rack())
