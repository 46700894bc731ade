"""A plan is followed to its end, on racks where plans made anew at each step would undo one another."""

from dataclasses import replace

import pytest

from aivailable.model.cards import Vendor
from aivailable.model.fleet import Engine, Fleet, ModelSpec
from aivailable.model.plan import Plan, Start
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from tests.placement.test_decisions import rack, sized
from tests.placement.test_properties import BIG, TWICE
from tests.placement.world import World
from tests.samples import SMALL, card, fleet, node, variant

CARDS = [card("GTX 1080", 8192, node="n0", index=n, compute_capability=6.1, simulated=True) for n in (0, 1)]
LITTLE, LARGE = (variant(SMALL, "/m/s.gguf"),), (variant(BIG, "/m/b.gguf"),)
WANTED = Fleet(
    models=(
        ModelSpec(name="d", variants=LITTLE, replicas=3, priority=10, context=1024, concurrency=18),
        ModelSpec(name="e", variants=LARGE, replicas=4, priority=10, context=4096, concurrency=15),
        ModelSpec(name="a", variants=TWICE, replicas=4, priority=50, context=1024, concurrency=20),
        ModelSpec(name="b", variants=LITTLE, replicas=4, priority=10, context=1024, concurrency=1),
        ModelSpec(name="c", variants=LITTLE, replicas=1, priority=90, context=1024, concurrency=1),
    )
)
RUNNING = (
    ("a", 0, "/m/x.gguf", 0, 4096, "d10318dd", None),
    ("a", 1, "/m/x.gguf", 1, 4096, "d10318dd", None),
    ("b", 5, "/m/s.gguf", 0, 1024, "ce838bf1", 4),
    ("c", 0, "/m/s.gguf", 1, 1024, "f15607ed", 2),
    ("c", 2, "/m/s.gguf", 0, 1024, "f15607ed", 1),
    ("d", 2, "/m/s.gguf", 1, 1024, "7b85472d", 4),
    ("d", 4, "/m/s.gguf", 0, 1024, "7b85472d", 3),
)


def replica(
    model: str, number: int, source: str, index: int, claim_mib: int, hash8: str, replaces: int | None
) -> Replica:
    job = f"llm-{model}-{number}-{hash8}"
    return Replica(
        model=model,
        variant=source,
        replica=number,
        job=job,
        state=ReplicaState.SERVING,
        engine=Engine.LLAMACPP,
        vendor=Vendor.NVIDIA,
        alloc=f"alloc-{job}",
        node="n0",
        cards=(f"GPU-n0-{index}",),
        claim_mib=(claim_mib,),
        replaces="" if replaces is None else f"llm-{model}-{replaces}-{hash8}",
    )


def test_a_full_pair_of_cards_comes_to_rest() -> None:
    world = World(Snapshot(nodes=(node("n0", *CARDS, rack="r0"),)))
    world.replicas = {each.job: each for each in (replica(*facts) for facts in RUNNING)}

    world.settle(WANTED)


def begun() -> tuple[World, Plan]:
    """A plan that moves somebody to make room and has to wait for that."""
    world = World(rack(8, 4))
    world.settle(fleet(sized("first", 3)))
    (job,) = world.replicas
    assert world.re_place(job, "n0")
    world.pass_time()
    made = plan(ROOM_FOR, world.snapshot())
    assert {(i.moves, i.cards) for i in made.intended} == {(job, ("GPU-n1-0",)), ("", ("GPU-n0-0",))}
    return world, made


ROOM_FOR = fleet(sized("first", 3), sized("large", 6))


def test_what_is_begun_is_no_intention_any_more_and_the_rest_goes_on() -> None:
    world, made = begun()
    for action in made.actions:
        world.carry_out(action)

    after = plan(ROOM_FOR, world.snapshot(), made)

    assert [i.spec.name for i in after.intended] == ["large"]
    assert [a.placement.cards for a in after.actions if isinstance(a, Start)] == [("GPU-n0-0",)]


@pytest.mark.parametrize("what", ["card", "node", "model", "spec"])
def test_what_cannot_be_followed_any_more_is_planned_anew(what: str) -> None:
    world, made = begun()
    wanted = ROOM_FOR
    if what == "card":
        world.change_card("GPU-n1-0", healthy=False)
    elif what == "node":
        world.change_node("n1", ready=False)
    elif what == "model":
        wanted = fleet(ROOM_FOR.models[0])
    else:
        wanted = fleet(ROOM_FOR.models[0], replace(ROOM_FOR.models[1], context=512))

    assert plan(wanted, world.snapshot(), made) == plan(wanted, world.snapshot())
