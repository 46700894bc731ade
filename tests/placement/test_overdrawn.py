"""A replica that holds more than it booked is replaced by one with a larger claim, and by nothing else."""

from dataclasses import replace

from aivailable.model.cards import Card
from aivailable.model.fleet import Engine, ModelSpec
from aivailable.model.measurement import Conditions, Measurement
from aivailable.model.plan import Move, Start, Stop
from aivailable.model.replica import ReplicaState
from aivailable.placement import Planner, plan
from aivailable.vram.launch import planned
from aivailable.vram.measured import conditions_of
from tests.placement.test_decisions import rack, sized
from tests.placement.world import World
from tests.samples import fleet

GIB = 1024


def conditions(card: Card, sha256: str) -> Conditions:
    launch = planned(engine=Engine.LLAMACPP, card=card, context=1024, concurrency=1)
    return conditions_of(launch, sha256, ())


def measure(world: World, weights_mib: int) -> None:
    """Every replica of `a` is seen to hold so much, on whatever card."""
    spec = WANTED.models[0]
    resolved = spec.variants[0].resolved
    assert resolved is not None
    for job, replica in world.replicas.items():
        if replica.model == "a" and replica.state is ReplicaState.SERVING:
            world.replicas[job] = replace(replica, measured_mib=weights_mib + 100)
    world.measured = tuple(
        Measurement(
            conditions=conditions(card, resolved.sha256), alloc=card.name, at_s=1, weights_mib=weights_mib, kv_mib=23
        )
        for node in world.snapshot().nodes
        for card in node.cards
    )


def other(name: str, gib: float, **facts: object) -> ModelSpec:
    """A model with files of its own."""
    spec = sized(name, gib, **facts)
    (one,) = spec.variants
    assert one.resolved is not None
    return replace(spec, variants=(replace(one, resolved=replace(one.resolved, sha256="b" * 64)),))


WANTED = fleet(sized("a", 3), other("b", 3, priority=40))


def test_its_claim_is_raised_and_it_serves_until_its_successor_does() -> None:
    world = World(rack(8, 8))
    world.settle(WANTED)
    (before,) = (r for r in world.replicas.values() if r.model == "a")
    measure(world, 5 * GIB)

    made = plan(WANTED, world.snapshot())
    assert [type(a) for a in made.actions] == [Move]
    for _ in range(6):
        for action in plan(WANTED, world.snapshot()).actions:
            if isinstance(action, Stop) and action.replica.job == before.job:
                assert action.why == "it holds more than it booked and its replacement serves"
            world.carry_out(action)
        world.pass_time()
        measure(world, 5 * GIB)
    (after,) = (r for r in world.replicas.values() if r.model == "a")
    assert after.job != before.job
    assert after.claim_mib[0] >= 5 * GIB + 100
    assert plan(WANTED, world.snapshot()).actions == ()


def test_a_neighbour_moves_where_there_is_no_room_otherwise() -> None:
    small = World(rack(8))
    small.settle(WANTED)
    world = World(rack(8, 4))
    world.replicas = small.replicas
    measure(world, 5 * GIB)

    for _ in range(12):
        for action in plan(WANTED, world.snapshot()).actions:
            world.carry_out(action)
        world.pass_time()
        measure(world, 5 * GIB)
    found = {r.model: (r.cards, r.claim_mib[0]) for r in world.replicas.values()}
    assert found["a"][1] >= 5 * GIB
    assert set(found) == {"a", "b"}
    assert found["a"][0] != found["b"][0]
    assert plan(WANTED, world.snapshot()).actions == ()


def test_a_measurement_that_is_not_believed_changes_nothing() -> None:
    world = World(rack(8, 8))
    world.settle(WANTED)
    measure(world, 7 * GIB)  # more than twice the estimate, seen once

    assert plan(WANTED, world.snapshot()).actions == ()


def test_a_smaller_one_restarts_nobody_and_counts_for_the_next() -> None:
    world = World(rack(8, 8))
    world.settle(WANTED)
    measure(world, 2 * GIB)

    planner = Planner()
    assert planner.plan(WANTED, replace(world.snapshot(), measured=())).actions == ()
    assert planner.plan(WANTED, world.snapshot()).actions == ()
    more = fleet(sized("a", 3, replicas=2), other("b", 3, priority=40))
    (start,) = planner.plan(more, world.snapshot()).actions
    assert isinstance(start, Start)
    assert start.placement.claim_mib[0] < next(r.claim_mib[0] for r in world.replicas.values() if r.model == "a")
