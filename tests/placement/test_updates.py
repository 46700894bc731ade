"""A changed model: new replicas beside the old, one by one, or stop first; never fewer serving than is promised."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.plan import Move, Plan, Start, Stop
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from tests.placement.test_decisions import rack, sized
from tests.placement.test_properties import MODELS, racks
from tests.placement.world import World
from tests.samples import fleet

ROUNDS = 30


def rolled(world: World, wanted: Fleet) -> Iterator[Plan]:
    """The plans that lead there, each carried out and followed by the next; ends when nothing is left to do."""
    made = None
    for _ in range(ROUNDS):
        made = plan(wanted, world.snapshot(), made)
        yield made
        if not made.actions and all(r.state is ReplicaState.SERVING for r in world.replicas.values()):
            return
        for action in made.actions:
            world.carry_out(action)
        yield made
        world.pass_time()
    raise AssertionError(f"still something to do: {made.actions if made else ()}")


def changed(spec: ModelSpec) -> ModelSpec:
    """Another version of a model, of the same size."""
    return replace(spec, variants=tuple(replace(v, flags=("--no-mmap",)) for v in spec.variants))


def counts(world: World, wanted: Fleet) -> list[int]:
    """How many of the model `a` serve, after each step."""
    return [world.serving("a") for _ in rolled(world, wanted)]


def test_with_room_the_new_ones_start_beside_the_old() -> None:
    world = World(rack(8, 8))
    before = sized("a", 3, replicas=2)
    world.settle(fleet(before))

    first = plan(fleet(changed(before)), world.snapshot())

    assert [(type(a), a.waits_for) for a in first.actions] == [(Move, ()), (Move, ())]
    assert all(a.why.startswith("its spec changed") for a in first.actions)
    assert min(counts(world, fleet(changed(before)))) == 2


def test_with_little_room_one_by_one_and_none_is_missing() -> None:
    """Three full cards, and room for one more: nobody stops before a successor serves."""
    world = World(rack(4, 4, 4, 4))
    before = sized("a", 3, replicas=3)
    world.settle(fleet(before))

    assert min(counts(world, fleet(changed(before)))) == 3


def test_without_room_one_stops_first_and_the_others_wait_for_their_turn() -> None:
    world = World(rack(4, 4, 4))
    before = sized("a", 3, replicas=3)
    world.settle(fleet(before))

    first = plan(fleet(changed(before)), world.snapshot())

    assert [type(a) for a in first.actions] == [Stop, Start]
    assert first.actions[0].why == "its spec changed and there is no room for both"
    ((waits,), missing) = first.deferred, first.unplaced
    assert (waits.count, missing) == (2, ())
    assert "no room for old and new together" in waits.why
    assert min(counts(world, fleet(changed(before)))) == 2
    assert world.serving("a") == 3


@pytest.mark.parametrize(("min_available", "refused"), [(None, False), (0, False), (1, True)])
def test_a_single_replica_without_room_stops_first_unless_that_is_forbidden(
    min_available: int | None, *, refused: bool
) -> None:
    world = World(rack(4))
    before = sized("a", 3, min_available=min_available)
    world.settle(fleet(before))

    made = plan(fleet(changed(before)), world.snapshot())

    if refused:
        assert made.actions == ()
        (missing,) = made.unplaced
        assert missing.reasons[0].rule == "min_available"
        assert "1 serve, min_available = 1" in missing.reasons[0].text
        assert "min_available = 0" in missing.would_help
    else:
        assert [type(a) for a in made.actions] == [Stop, Start]


def test_a_replica_that_does_not_serve_may_stop_whatever_is_promised() -> None:
    world = World(rack(4))
    before = sized("a", 3, min_available=1)
    world.settle(fleet(before))
    world.replicas = {j: replace(r, state=ReplicaState.UNHEALTHY) for j, r in world.replicas.items()}

    made = plan(fleet(changed(before)), world.snapshot())

    assert [type(a) for a in made.actions] == [Stop, Start]


def test_nobody_moves_for_another_where_that_would_interrupt_what_must_serve() -> None:
    """Two full cards whose tenants would have to change places: only where one of them may stop meanwhile."""

    def world_with(min_available: int | None) -> tuple[World, Fleet]:
        a, b = sized("a", 5, min_available=min_available), sized("b", 1, min_available=min_available)
        world = World(rack(8, 9))
        world.settle(fleet(a, b))
        return world, fleet(a, b, sized("c", 7.2), sized("d", 0.2))

    may, wanted = world_with(None)
    may.settle(wanted)
    assert may.serving("c") == 1
    may_not, wanted = world_with(1)
    for _ in rolled(may_not, wanted):
        assert may_not.serving("a") == may_not.serving("b") == 1


@settings(max_examples=30, deadline=None)
@given(racks(), MODELS, st.booleans())
def test_no_update_ever_leaves_fewer_serving_than_promised(nodes: Snapshot, wanted: Fleet, strictly: bool) -> None:
    """Every model changes at once, on racks with room and without. Higher priorities may evict, so there are none."""
    before = Fleet(
        models=tuple(replace(m, priority=50, min_available=m.replicas if strictly else None) for m in wanted.models)
    )
    world = World(nodes)
    world.settle(before)
    promised = {m.name: min(m.kept_serving, world.serving(m.name)) for m in before.models}
    after = Fleet(models=tuple(changed(m) for m in before.models))

    for _ in rolled(world, after):
        for name, least in promised.items():
            assert world.serving(name) >= least


def test_new_ones_succeed_old_ones_of_other_numbers() -> None:
    """After moves, numbers have gaps: what a new replica is for is told all the same."""
    world = World(rack(8, 8, 8))
    before = sized("a", 3, replicas=2)
    world.settle(fleet(before))
    world.change_node("n1", leaving=True)
    world.settle(fleet(before))
    assert {r.replica for r in world.replicas.values()} == {0, 2}

    made = plan(fleet(changed(before)), world.snapshot())

    assert [type(a) for a in made.actions] == [Move, Move]
    assert {a.replica.replica for a in made.actions if isinstance(a, Move)} == {0, 2}
