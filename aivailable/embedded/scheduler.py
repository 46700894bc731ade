"""Where a job goes: node constraints, device groups with enough free slices, affinities; else a seeded random choice.

Pure. As in Nomad one `device` block never spans two groups, and nothing packs or spreads over cards.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from aivailable.devices.slices import DeviceGroup, device_groups
from aivailable.embedded.conditions import device_holds, node_attributes, node_holds
from aivailable.embedded.job import DeviceAsk, Job
from aivailable.model.cards import Node

AVOID_SCORE = 1000
"""Taken off a node on which the last allocation of the job failed; it is chosen only when no other fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A node, and for each device block in order of tasks the slice ids it got."""

    node: Node
    devices: tuple[tuple[str, tuple[str, ...]], ...]
    """Pairs of task name and slice ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """No place now, and why in words."""

    note: str


def place(
    job: Job, nodes: Sequence[Node], used: frozenset[str], *, rng: Random, avoid: frozenset[str] = frozenset()
) -> Placed | Waiting:
    """Find a place for a job.

    Args:
        job: What to place.
        nodes: All nodes; those that are not ready and eligible take nothing.
        used: Slice ids held by living allocations.
        rng: Decides between equals.
        avoid: Names of nodes to take only when no other fits.
    """
    offers: list[tuple[int, Placed]] = []
    refusals: Counter[str] = Counter()
    for node in nodes:
        outcome = _offer(job, node, used, rng)
        if isinstance(outcome, str):
            refusals[outcome] += 1
            continue
        score, placed = outcome
        offers.append((score - (AVOID_SCORE if node.name in avoid else 0), placed))
    if not offers:
        return Waiting(note="waits: " + ", ".join(f"{text} ({count})" for text, count in refusals.items()))
    best = max(score for score, _ in offers)
    return rng.choice([placed for score, placed in offers if score == best])


def _offer(job: Job, node: Node, used: frozenset[str], rng: Random) -> tuple[int, Placed] | str:
    """The score and devices a node offers, or why it offers nothing."""
    attributes = node_attributes(node)
    if not node.ready:
        return "node down"
    if not node.eligible:
        return "node takes no new work"
    if unmet := next((c for c in job.constraints if not node_holds(c, attributes)), None):
        return f"node does not meet {unmet.attribute} {unmet.operator} {unmet.value}"
    score = sum(a.weight for a in job.affinities if node_holds(a, attributes))
    taken = set(used)
    devices: list[tuple[str, tuple[str, ...]]] = []
    groups = device_groups(node.cards)
    for task in job.tasks:
        for ask in task.devices:
            choice = _choose(ask, groups, taken, rng)
            if isinstance(choice, str):
                return choice
            group_score, ids = choice
            score += group_score
            taken.update(ids)
            devices.append((task.name, ids))
    return score, Placed(node=node, devices=tuple(devices))


def _choose(
    ask: DeviceAsk, groups: Sequence[DeviceGroup], taken: set[str], rng: Random
) -> tuple[int, tuple[str, ...]] | str:
    """One group with enough free healthy instances, the one that the affinities like best."""
    fitting: list[tuple[int, tuple[str, ...]]] = []
    matching = 0
    for group in groups:
        names = (group.vendor, f"{group.vendor}/{group.type}", f"{group.vendor}/{group.type}/{group.name}", group.type)
        if ask.name not in names or not group.healthy:
            continue
        if not all(device_holds(c, group.attributes) for c in ask.constraints):
            continue
        matching += 1
        free = tuple(instance for instance in group.instances if instance not in taken)
        if len(free) >= ask.count:
            score = sum(a.weight for a in ask.affinities if device_holds(a, group.attributes))
            fitting.append((score, free[: ask.count]))
    if not fitting:
        return f"no card with {ask.count} free slices" if matching else f"no card matches {ask.name}"
    best = max(score for score, _ in fitting)
    return rng.choice([choice for choice in fitting if choice[0] == best])
