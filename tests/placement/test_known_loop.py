"""A rack in which the planner does not come to rest: found by chance, kept until it is mended."""

import pytest

from aivailable.model.cards import Vendor
from aivailable.model.fleet import Engine, Fleet, ModelSpec
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from tests.placement.test_properties import BIG, TWICE
from tests.placement.world import World
from tests.samples import SMALL, card, node, variant

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


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="each plan makes room for e by crossing the two a over, and the next one crosses them back",
)
def test_a_full_pair_of_cards_comes_to_rest() -> None:
    world = World(Snapshot(nodes=(node("n0", *CARDS, rack="r0"),)))
    world.replicas = {each.job: each for each in (replica(*facts) for facts in RUNNING)}

    world.settle(WANTED)
