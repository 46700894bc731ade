"""What a node's drain would take down, and what of its work has no place elsewhere."""

from dataclasses import replace

from aivailable.controller.leaving import look_at, losses, own_jobs_at_stake, stays, thought_leaving, without_place
from aivailable.model.cards import Node
from aivailable.model.fleet import Where
from aivailable.model.plan import Deferred, Plan, Reason, Stop, Unplaced
from aivailable.model.replica import ReplicaState
from aivailable.model.service import CONTROLLER_JOB, GATEWAY_JOB
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from tests.placement.world import World
from tests.samples import card, fleet, model, node, rack

GATE, CONTROL = GATEWAY_JOB, CONTROLLER_JOB


def settled(wanted: int, *nodes: Node) -> tuple[World, Plan]:
    """A rack on which so many replicas of a model serve."""
    world = World(Snapshot(nodes=nodes) if nodes else rack())
    return world, world.settle(fleet(model(replicas=wanted, min_available=1)))


def without(made: Plan, name: str, *, reasons: tuple[Reason, ...] = ()) -> Plan:
    """The plan, with no place for what it has on a node."""
    gone = tuple(p for p in made.placements if p.node == name)
    unplaced = tuple(Unplaced(model=p.spec.model, replica=p.replica, reasons=reasons) for p in gone)
    return replace(made, placements=tuple(p for p in made.placements if p.node != name), unplaced=unplaced)


def test_a_model_with_a_place_elsewhere_loses_nothing() -> None:
    world, made = settled(2)
    name = made.placements[0].node
    elsewhere = replace(made, placements=tuple(replace(p, node="other") for p in made.placements))

    assert losses(fleet(model(replicas=2)), world.snapshot(), elsewhere, name) == ()


def test_a_model_without_a_place_elsewhere_says_what_is_left_and_why() -> None:
    world, made = settled(2)
    name = made.placements[0].node
    reason = Reason(rule="free memory", count=2, text="needs 1000 MiB")
    wanted = fleet(model(replicas=2, min_available=2))

    (loss,) = losses(wanted, world.snapshot(), without(made, name, reasons=(reason, reason)), name)

    assert (loss.before, loss.after) == (2, 1)
    assert loss.text == "m is left with 1 of 2 replicas, below min_available = 2: needs 1000 MiB"
    assert replace(loss, after=0, reasons=()).text == "m goes down: there is no place elsewhere"
    assert "below" not in replace(loss, kept_serving=1).text


def test_a_replica_that_the_plan_leaves_where_it_is_counts_as_lost() -> None:
    alone = node("node1", card("C", 8192, node="node1"))
    world, made = settled(1, alone)

    (loss,) = losses(fleet(model()), world.snapshot(), made, "node1")

    assert (loss.before, loss.after) == (1, 0)


def test_what_has_no_place_stays_and_what_is_moved_or_may_have_a_successor_does_not() -> None:
    world, made = settled(2)
    name = made.placements[0].node
    snapshot = world.snapshot()
    here = [r for r in snapshot.replicas if r.node == name]
    homeless = without(made, name)

    assert list(stays(snapshot, homeless, name)) == here
    assert stays(snapshot, replace(homeless, unplaced=()), name) == ()
    assert stays(snapshot, replace(homeless, actions=(Stop(replica=here[0], why=""),)), name) == ()
    ending = replace(
        snapshot, replicas=tuple(replace(r, state=ReplicaState.STOPPING) for r in snapshot.replicas if r.node == name)
    )
    assert stays(ending, homeless, name) == ()
    coming = replace(
        snapshot,
        replicas=tuple(r if r.node == name else replace(r, state=ReplicaState.LOADING) for r in snapshot.replicas),
    )
    assert stays(coming, homeless, name) == ()


def test_a_node_thought_leaving_is_given_nothing_new() -> None:
    (first, *_) = plan(fleet(model()), rack()).placements

    (other, *_) = plan(fleet(model()), thought_leaving(rack(), first.node)).placements

    assert other.node != first.node


def test_what_comes_later_neither_is_lost_nor_stays() -> None:
    world, made = settled(2)
    name = made.placements[0].node
    later = Deferred(model="m", replica=0, why="there is no room for both")

    waits = replace(without(made, name), unplaced=(), deferred=(later,), actions=())

    assert losses(fleet(model(replicas=2)), world.snapshot(), waits, name) == ()
    assert stays(world.snapshot(), waits, name) == ()


def test_a_leaving_node_is_emptied_but_for_what_has_no_place_elsewhere() -> None:
    """With the planner's own plans, as the controller carries them out."""
    wanted = fleet(model("wide", replicas=4), model("amd", where=Where(vendor="amd")))
    world = World(rack())
    world.settle(wanted)
    assert "node3" in {r.node for r in world.replicas.values() if r.model == "wide"}
    world.change_node("node3", leaving=True, eligible=False)
    for _ in range(8):
        for action in plan(wanted, world.snapshot()).actions:
            world.carry_out(action)
        assert world.serving("wide") >= 4
        assert {r.model for r in look_at(wanted, world.snapshot(), "node3").stays} <= {"amd"}
        world.pass_time()

    look = look_at(wanted, world.snapshot(), "node3")

    assert [r.model for r in look.stays] == ["amd"]
    assert look.settled
    (loss,) = losses(wanted, world.snapshot(), plan(wanted, world.snapshot()), "node3")
    assert loss.text.startswith("amd goes down: ")


def three() -> Snapshot:
    meta = {"aivailable_consul": "http://127.0.0.1:8500"}
    return Snapshot(nodes=tuple(node(name, meta=meta) for name in ("node1", "node2", "node3")))


def test_our_own_jobs_go_to_a_node_that_has_none_of_their_kind() -> None:
    running = {"node1": (CONTROL, GATE), "node2": (CONTROL, GATE), "node3": ("other",)}

    assert without_place(three(), "node1", running) == ()
    assert own_jobs_at_stake(three(), "node1", running) == ()
    full = {**running, "node3": (GATE,)}
    assert without_place(three(), "node1", full) == (GATE,)
    assert own_jobs_at_stake(three(), "node1", full) == (
        "no other node can take aivailable-gateway: one less of each runs",
    )
    assert without_place(thought_leaving(three(), "node3"), "node1", running) == (GATE, CONTROL)


def test_the_only_gateway_is_worth_a_question() -> None:
    running = {"node1": (GATE,), "node2": (), "node3": ()}

    assert own_jobs_at_stake(three(), "node1", running) == (
        "the only gateway runs there: clients get no answer until another one is up",
    )
