"""How far plans are from the best there is: small seeded racks, empty and in use, against the exact model."""

import random
import time
from dataclasses import dataclass, replace
from statistics import mean, median

from aivailable.model.cards import Card, Node, Vendor
from aivailable.model.fleet import Fleet, ModelSpec, Resolved, Variant
from aivailable.model.plan import Move, Plan, Start, Stop
from aivailable.model.profile import Profile, WeightsFormat
from aivailable.model.snapshot import Snapshot
from aivailable.placement.exact import solve
from aivailable.placement.planner import Planner, plan
from aivailable.placement.run import Run
from aivailable.placement.worth import served
from bench.placement.worlds import after
from bench.tables import machine

INSTANCES = 200
SECONDS = 20.0
"""Time for each search of the exact model; whether it was enough is in the table."""

CARDS = (
    ("NVIDIA GeForce GTX 1080", 8192, 6.1, None),
    ("NVIDIA GeForce RTX 2080 Ti", 11264, 7.5, None),
    ("Tesla T4", 15360, 7.5, None),
    ("AMD Instinct MI60 / MI50", 16368, None, "gfx906"),
    ("Tesla P40", 23040, 6.1, None),
    ("NVIDIA GeForce RTX 3090", 24576, 8.6, None),
)
SIZES_B = (0.5, 1.5, 3.0, 4.0, 7.0, 8.0, 13.0)
"""Parameters in thousand millions; layers and widths follow from them as in models of that size."""

PRIORITIES = (20, 50, 80)


@dataclass(frozen=True, slots=True)
class Compared:
    """One instance: weighted VRAM served, and replicas moved, by the planner and at best."""

    ours: int
    best: int
    our_moves: int
    best_moves: int
    optimal: bool
    seconds: float


def measure() -> dict[str, object]:
    """All instances."""
    found = [compare(seed) for seed in range(INSTANCES)]
    ratios = [c.ours / c.best if c.best else 1.0 for c in found]
    # A plan that serves less may move less: moves are compared where both serve the same.
    equal = [c for c in found if c.ours == c.best]
    ours, best = sum(c.our_moves for c in equal), sum(c.best_moves for c in equal)
    return {
        "instances": len(found),
        "proved_optimal": sum(c.optimal for c in found),
        "served_mean": mean(ratios),
        "served_worst": min(ratios),
        "served_equal": len(equal),
        "our_moves": ours,
        "best_moves": best,
        "moves_ratio": ours / best if best else 1.0,
        "seconds": median(c.seconds for c in found),
    }


def show(found: dict[str, object]) -> None:
    """The table."""
    print(f"Quality: {found['instances']} small racks against the exact optimum ({machine()})")
    print(f"proved optimal              {found['proved_optimal']}")
    print(f"weighted VRAM served, mean  {found['served_mean']:.4f} of the optimum")
    print(f"weighted VRAM served, worst {found['served_worst']:.4f} of the optimum")
    print(f"served as much as possible  {found['served_equal']}")
    print(
        f"replicas moved              {found['our_moves']}, at best {found['best_moves']}: {found['moves_ratio']:.2f}x"
    )
    print(f"seconds for a plan, median  {found['seconds']:.4f}")


def compare(seed: int) -> Compared:
    """One instance: an even seed starts with an empty rack, an odd one with a rack in use that gets more to do."""
    fleet, snapshot = instance(seed)
    begin = time.perf_counter()
    run = Run(Planner(), fleet, snapshot)
    made = run.plan()
    seconds = time.perf_counter() - begin
    run.open_all()
    ours = served(list(run.states.values()))
    best = Run(Planner(), fleet, snapshot)
    best.open_all()
    states = list(best.states.values())
    solution = solve(best.board, states, SECONDS)
    best_moves = 0
    for item, place in solution.places:
        if item.home and (place is None or not place.stays):
            best_moves += place is not None
            best.displace(item, "")
    for item, place in solution.places:
        if place is not None and not place.stays:
            best.put(item, place.option, place.cards)
    return Compared(
        ours=ours,
        best=served(states),
        our_moves=moves(made),
        best_moves=best_moves,
        optimal=solution.optimal,
        seconds=seconds,
    )


def moves(made: Plan) -> int:
    """Running replicas that run elsewhere afterwards: moved, or stopped and started."""
    moved = {a.replica.job for a in made.actions if isinstance(a, Move)}
    stopped = {a.replica.job for a in made.actions if isinstance(a, Stop)}
    return len(moved | {a.placement.replaces for a in made.actions if isinstance(a, Start)} & stopped)


def instance(seed: int) -> tuple[Fleet, Snapshot]:
    """A small rack and a fleet that is about as large as the rack."""
    random_ = random.Random(seed)
    nodes = tuple(_node(number, random_) for number in range(random_.randint(2, 4)))
    rack = Snapshot(nodes=nodes)
    total_mib = sum(card.total_mib for node in nodes for card in node.cards)
    models: list[ModelSpec] = []
    asked_mib, goal_mib = 0, random_.uniform(0.7, 1.3) * total_mib
    while asked_mib < goal_mib and len(models) < 12:
        spec = _model(len(models), random_)
        models.append(spec)
        asked_mib += spec.replicas * int(spec.variants[-1].resolved.profile.weights_bytes / 2**20 + 1500)  # type: ignore[union-attr] # made below
    fleet = Fleet(models=tuple(models))
    if seed % 2 == 0:
        return fleet, rack
    first = Fleet(models=tuple(random_.sample(models, k=max(1, len(models) // 2))))
    running = after(plan(first, rack), rack)
    # What was there before leaves holes: some of it is gone again.
    gone = set(random_.sample([m.name for m in first.models], k=len(first.models) // 3))
    fewer = Fleet(models=tuple(m for m in first.models if m.name not in gone))
    return fleet, after(plan(fewer, running), running)


def _node(number: int, random_: random.Random) -> Node:
    name, total_mib, capability, gfx = random_.choice(CARDS)
    cards = tuple(
        Card(
            uuid=f"GPU-{number}-{index}",
            index=index,
            vendor=Vendor.AMD if gfx else Vendor.NVIDIA,
            name=name,
            total_mib=total_mib,
            compute_capability=capability,
            gfx=gfx,
            free_slices=total_mib // 512,
        )
        for index in range(random_.randint(1, 3))
    )
    return Node(id=f"id-{number}", name=f"node{number}", rack=f"rack{number % 2}", cards=cards)


def _model(number: int, random_: random.Random) -> ModelSpec:
    billions = random_.choice(SIZES_B)
    variants = [_variant(billions, WeightsFormat.GGUF, 4.85)]
    if random_.random() < 0.5:
        variants.insert(0, _variant(billions, WeightsFormat.SAFETENSORS, 16))
    return ModelSpec(
        name=f"model{number}",
        variants=tuple(variants),
        replicas=random_.choice((1, 1, 2)),
        priority=random_.choice(PRIORITIES),
        context=random_.choice((2048, 4096)),
        concurrency=random_.choice((1, 2, 4)),
    )


def _variant(billions: float, form: WeightsFormat, bits: float) -> Variant:
    layers, hidden = round(20 + billions * 2), round(1024 + 384 * billions)
    profile = Profile(
        format=form,
        architecture="bench",
        weights_bytes=round(billions * 1e9 * bits / 8),
        input_embedding_bytes=0,
        layers=layers,
        hidden_size=hidden,
        heads=32,
        kv_heads=8,
        key_size=128,
        value_size=128,
        vocabulary=100_000,
        context_limit=32768,
        weights_type="BF16" if form is WeightsFormat.SAFETENSORS else "Q4_K",
    )
    resolved = Resolved(revision="", sha256=f"{round(billions * 10):08d}{form:.8}", profile=profile)
    return Variant(source=f"bench:{billions}B-{form.value}", resolved=replace(resolved))
