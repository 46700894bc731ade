"""How much of an old rack serves: the same catalogue filled in by several planners until nothing more fits.

Filling: one replica of every model, then the next replica for the model with the highest popularity / (replicas + 1).
"VRAM used" is what the running engines truly need (the expected footprint), not what was reserved for them.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from aivailable.model.cards import Card, Vendor
from aivailable.model.fleet import Engine, Fleet
from aivailable.model.profile import Profile, WeightsFormat
from aivailable.model.snapshot import Snapshot
from aivailable.placement.planner import plan
from aivailable.vram.footprint import footprint
from aivailable.vram.hardware import engine_of, refusal
from aivailable.vram.launch import planned
from bench.placement.catalogue import Entry, read_catalogue, read_rack
from bench.placement.worlds import after
from bench.tables import machine

SHARES = (1.0, 0.5, 0.25)
TURING = 7.5
MIB = 1024 * 1024

OLLAMA_OVER_ESTIMATE = 1.175
"""Ollama's estimates were reported 15 to 20 % above what was then allocated."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One running replica: its model, its node, the MiB its engine truly needs."""

    model: str
    node: str
    need_mib: int


Add = Callable[[Entry], Placed | None]
"""Places one more replica of a model, or says that it cannot."""


def measure(fleet: Path, catalogue: Path) -> list[dict[str, object]]:
    """A row for every rule and share of the catalogue's concurrency."""
    rack = read_rack(fleet)
    rows: list[dict[str, object]] = []
    for share in SHARES:
        entries = read_catalogue(catalogue, share=share)
        for name, fill in (
            ("stock Nomad + vLLM", _by_rule(rack, _stock)),
            ("GPUStack's rule", _by_rule(rack, _gpustack)),
            ("one engine per card", _by_rule(rack, _one_per_card)),
            ("Ollama's rule", _ollama(rack)),
        ):
            rows.append(_row(name, share, rack, entries, _fill(entries, fill)))
        rows.append(_row("AIvailable", share, rack, entries, _ours(rack, entries)))
        rows.append(_upper_bound(share, rack, entries))
    return rows


def show(rows: list[dict[str, object]], *, source: str) -> None:
    """The table."""
    print(f"Utilisation: {source} ({machine()})")
    heading = (
        f"{'concurrency':>11}  {'rule':24} {'VRAM used':>9} {'replicas':>8} {'models':>6} {'>= 2':>5} {'2 nodes':>7}"
    )
    print(f"{heading} {'popularity':>10}")
    for row in rows:
        print(
            f"{row['share']:>11}  {row['rule']:24} {row['vram_used']:>9.3f} {row['replicas']:>8} {row['models']:>6}"
            f" {row['models_twice']:>5} {row['models_on_two_nodes']:>7} {row['popularity']:>10.3f}"
        )


def _fill(entries: list[Entry], add: Add) -> list[Placed]:
    """One replica of each, then by popularity, until no model takes one more."""
    placed: list[Placed] = []
    count: Counter[str] = Counter()
    full: set[str] = set()
    while len(full) < len(entries):
        entry = _next(entries, count, full)
        if one := add(entry):
            placed.append(one)
            count[entry.spec.name] += 1
        else:
            full.add(entry.spec.name)
    return placed


def _next(entries: list[Entry], count: Counter[str], full: set[str]) -> Entry:
    left = [entry for entry in entries if entry.spec.name not in full]
    return min(left, key=lambda e: (count[e.spec.name] > 0, -e.popularity / (count[e.spec.name] + 1)))


def _ours(rack: Snapshot, entries: list[Entry]) -> list[Placed]:
    """The product's planner, asked for one replica more of what it has placed: beside what runs, else all anew.

    Where neither finds a place for everything, that model has enough; until no model takes one more.
    """
    count: Counter[str] = Counter()
    full: set[str] = set()
    made, running = plan(Fleet(), rack), rack
    grown = False
    while len(full) < len(entries):
        entry = _next(entries, count, full)
        count[entry.spec.name] += 1
        fleet = Fleet(models=tuple(replace(e.spec, replicas=count[e.spec.name]) for e in entries if count[e.spec.name]))
        for world in (running, rack):
            tried = plan(fleet, world)
            if not tried.unplaced:
                made, running, grown = tried, after(tried, world), True
                break
        else:
            count[entry.spec.name] -= 1
            full.add(entry.spec.name)
        if grown and len(full) == len(entries):
            # Others have moved since: what did not fit then may fit now.
            full, grown = set(), False
    return [Placed(p.spec.model, p.node, p.footprint.expected_mib * len(p.cards)) for p in made.placements]


Fits = Callable[[Profile, Card, Entry], bool]


def _by_rule(rack: Snapshot, fits: Fits) -> Add:
    """One engine per card: the first variant in order that a rule allows, on the smallest card that takes it."""
    free = [(node.name, card) for node in rack.nodes for card in node.cards]
    nodes: Counter[tuple[str, str]] = Counter()

    def add(entry: Entry) -> Placed | None:
        for variant in entry.spec.variants:
            profile = variant.resolved.profile if variant.resolved else None
            able = [(n, c) for n, c in free if profile and fits(profile, c, entry)]
            if profile and able:
                node, card = min(able, key=lambda nc: (nodes[nc[0], entry.spec.name], nc[1].total_mib, nc[0]))
                free.remove((node, card))
                nodes[node, entry.spec.name] += 1
                return Placed(entry.spec.name, node, _need(profile, card, entry))
        return None

    return add


def _stock(profile: Profile, card: Card, entry: Entry) -> bool:
    able = card.vendor is Vendor.NVIDIA and (card.compute_capability or 0) >= TURING
    return able and engine_of(profile) is Engine.VLLM and _need(profile, card, entry) <= card.total_mib


def _gpustack(profile: Profile, card: Card, entry: Entry) -> bool:
    del entry
    wanted_mib = profile.weights_bytes / MIB * 1.2 + 2048
    able = engine_of(profile) is Engine.VLLM and refusal(Engine.VLLM, profile, card) is None
    return able and wanted_mib <= 0.9 * card.total_mib


def _one_per_card(profile: Profile, card: Card, entry: Entry) -> bool:
    return refusal(engine_of(profile), profile, card) is None and _need(profile, card, entry) <= card.total_mib


def _ollama(rack: Snapshot) -> Add:
    """One server per node that loads a model once, llama.cpp only, on the card with the most memory free."""
    free = {card.uuid: card.total_mib for node in rack.nodes for card in node.cards}
    loaded: set[tuple[str, str]] = set()

    def add(entry: Entry) -> Placed | None:
        for variant in entry.spec.variants:
            profile = variant.resolved.profile if variant.resolved else None
            if profile is None or profile.format is not WeightsFormat.GGUF:
                continue
            able = [
                (free[card.uuid], node.name, card)
                for node in rack.nodes
                for card in node.cards
                if (node.name, entry.spec.name) not in loaded
                and refusal(Engine.LLAMACPP, profile, card) is None
                and _need(profile, card, entry) * OLLAMA_OVER_ESTIMATE <= free[card.uuid]
            ]
            if able:
                _, node, card = max(able, key=lambda found: (found[0], found[1], found[2].index))
                free[card.uuid] -= _need(profile, card, entry)
                loaded.add((node, entry.spec.name))
                return Placed(entry.spec.name, node, _need(profile, card, entry))
        return None

    return add


def _upper_bound(share: float, rack: Snapshot, entries: list[Entry]) -> dict[str, object]:
    """All memory as one card that every engine runs on, each replica as its smallest variant on its best card."""
    left_mib = _installed_mib(rack)
    cards = list({(c.name, c.total_mib): c for n in rack.nodes for c in n.cards}.values())
    least = {
        entry.spec.name: min(
            _need(v.resolved.profile, card, entry)
            for v in entry.spec.variants
            if v.resolved
            for card in cards
            if refusal(engine_of(v.resolved.profile), v.resolved.profile, card) is None
        )
        for entry in entries
    }
    nodes = [node.name for node in rack.nodes]

    def add(entry: Entry) -> Placed | None:
        nonlocal left_mib
        need_mib = least[entry.spec.name]
        if need_mib > left_mib:
            return None
        left_mib -= need_mib
        nodes.append(nodes.pop(0))
        return Placed(entry.spec.name, nodes[0], need_mib)

    return _row("upper bound", share, rack, entries, _fill(entries, add))


def _need(profile: Profile, card: Card, entry: Entry) -> int:
    launch = planned(
        engine=engine_of(profile), card=card, context=entry.spec.context, concurrency=entry.spec.concurrency
    )
    size = footprint(profile, launch)
    return size.expected_mib


def _installed_mib(rack: Snapshot) -> int:
    return sum(card.total_mib for node in rack.nodes for card in node.cards)


def _row(name: str, share: float, rack: Snapshot, entries: list[Entry], placed: list[Placed]) -> dict[str, object]:
    count = Counter(one.model for one in placed)
    apart = {model: len({one.node for one in placed if one.model == model}) for model in count}
    return {
        "rule": name,
        "share": share,
        "vram_used": sum(one.need_mib for one in placed) / _installed_mib(rack),
        "replicas": len(placed),
        "models": len(count),
        "models_twice": sum(n >= 2 for n in count.values()),
        "models_on_two_nodes": sum(n >= 2 for n in apart.values()),
        "popularity": sum(e.popularity for e in entries if count[e.spec.name]),
    }
