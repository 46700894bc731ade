"""Replicas that are replaced although they run: a node to be emptied, a card sick or gone, an engine that hangs."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from aivailable.model.fleet import Where
from aivailable.model.plan import Move, Stop
from aivailable.model.replica import ReplicaState
from aivailable.placement import Planner, plan
from tests.placement.test_decisions import rack, sized
from tests.placement.world import World
from tests.samples import fleet

WANTED = fleet(sized("a", 3, replicas=2), sized("b", 3))


def the_one_on(world: World, node: str, model: str = "a") -> str:
    return next(job for job, r in world.replicas.items() if r.node == node and r.model == model)


def leaving(world: World) -> None:
    world.change_node("n0", leaving=True)


def silent(world: World) -> None:
    world.change_node("n0", silent=True)


def sick(world: World) -> None:
    world.change_card("GPU-n0-0", healthy=False)


def vanished(world: World) -> None:
    world.change_card("GPU-n0-0")


def hanging(world: World) -> None:
    world.replicas = {
        job: replace(r, state=ReplicaState.UNHEALTHY, forsaken="it is unhealthy for 31 s") if r.node == "n0" else r
        for job, r in world.replicas.items()
    }


CAUSES = [
    (leaving, "n0 is to be emptied"),
    (silent, "Consul does not hear from n0 any more"),
    (sick, "its card on n0 is unhealthy"),
    (vanished, "its card on n0 has vanished"),
    (hanging, "it is unhealthy for 31 s"),
]


@pytest.mark.parametrize(("befalls", "why"), CAUSES, ids=[cause.__name__ for cause, _ in CAUSES])
def test_it_serves_until_its_successor_does_elsewhere(befalls: Callable[[World], None], why: str) -> None:
    world = World(rack(8, 8, 8))
    world.settle(WANTED)
    old = the_one_on(world, "n0")
    planner = Planner()
    assert planner.plan(WANTED, world.snapshot()).actions == ()

    befalls(world)
    made = planner.plan(WANTED, world.snapshot())

    assert made == plan(WANTED, world.snapshot())
    moves = [a for a in made.actions if isinstance(a, Move)]
    assert moves == list(made.actions)
    assert {a.replica.node for a in moves} == {"n0"}
    (move,) = [a for a in moves if a.replica.job == old]
    assert move.why.startswith(why)
    assert move.placement.node != "n0" or befalls is hanging
    for action in moves:
        world.carry_out(action)
    assert plan(WANTED, world.snapshot()).actions == ()
    world.pass_time()
    stops = [a for a in plan(WANTED, world.snapshot()).actions if isinstance(a, Stop)]
    assert old in [a.replica.job for a in stops]
    assert all(a.why.startswith(why) for a in stops)


@pytest.mark.parametrize("befalls", [leaving, sick])
def test_without_room_elsewhere_it_goes_on_serving_and_the_reason_is_told(befalls: Callable[[World], None]) -> None:
    world = World(rack(4, 4))
    wanted = fleet(sized("a", 3, replicas=2))
    world.settle(wanted)

    befalls(world)
    made = plan(wanted, world.snapshot())

    assert made.actions == ()
    (missing,) = made.unplaced
    assert (missing.model, missing.count) == ("a", 1)
    assert {"free memory"} < {r.rule for r in missing.reasons}


def test_a_wish_for_other_cards_moves_it_there_and_without_room_it_stays() -> None:
    """Changed by the user, or not heeded by Nomad when it placed the replica of a lost node again."""
    world = World(rack(8, 6))
    world.settle(fleet(sized("a", 3)))
    (old,) = world.replicas.values()
    wish = fleet(sized("a", 3, where=Where(card="C8" if old.node == "n1" else "C6")))

    (move,) = plan(wish, world.snapshot()).actions

    assert isinstance(move, Move)
    assert move.why.startswith("`where` asks for card = C")
    world.settle(wish)
    assert {r.node for r in world.replicas.values()} == {"n0", "n1"} - {old.node}
    nowhere = fleet(sized("a", 3, where=Where(card="C9")))
    made = plan(nowhere, world.snapshot())
    assert made.actions == ()
    assert [u.model for u in made.unplaced] == ["a"]


def test_a_drained_node_makes_what_matters_less_give_way() -> None:
    """The only replica of one model is worth more than the second one of another."""
    world = World(rack(4, 4, 4))
    wanted = fleet(sized("a", 3, replicas=2, priority=90), sized("b", 3, priority=10))
    world.settle(wanted)
    (node,) = {r.node for r in world.replicas.values() if r.model == "b"}
    world.change_node(node, leaving=True)

    for _ in range(8):
        for action in plan(wanted, world.snapshot()).actions:
            world.carry_out(action)
        world.pass_time()

    assert world.serving("b") == world.serving("a") == 1
    assert node not in {r.node for r in world.replicas.values()}


def test_one_that_recovers_before_its_successor_serves_is_kept() -> None:
    world = World(rack(8, 8, 8))
    world.settle(WANTED)
    before = set(world.replicas)
    hanging(world)
    for action in plan(WANTED, world.snapshot()).actions:
        world.carry_out(action)
    world.replicas = {
        job: replace(r, state=ReplicaState.SERVING, forsaken="") if job in before else r
        for job, r in world.replicas.items()
    }

    stops = plan(WANTED, world.snapshot()).actions

    assert {type(a) for a in stops} == {Stop}
    assert not {a.replica.job for a in stops} & before


def test_what_nomad_placed_elsewhere_meanwhile_is_one_too_many() -> None:
    """Consul told first, a successor started; then Nomad re-placed the lost one by itself."""
    world = World(rack(8, 8, 8))
    wanted = fleet(sized("a", 3, replicas=2))
    world.settle(wanted)
    old = the_one_on(world, "n0")
    silent(world)
    for action in plan(wanted, world.snapshot()).actions:
        world.carry_out(action)
    world.change_node("n0", ready=False)
    assert world.re_place(old, "n1")

    world.settle(wanted)

    assert world.serving("a") == 2
    assert len({r.node for r in world.replicas.values()}) == 2
