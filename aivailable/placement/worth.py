"""What a plan is worth: the VRAM served, by rank. The planner's improvements and the exact model count alike."""

from collections.abc import Iterable

from aivailable.placement.state import ModelState, Rank

RANK_RATIO = 64
"""How much more a MiB of one rank counts than one of the rank below: more than a small rack could make up for."""

RUNNING_BONUS = 3
"""How much more a running replica counts than a new one of its rank: it is not given up for it."""

MOVE, TOGETHER, LESS_PREFERRED = 1000, 30, 1
"""What counts against a plan that serves as much: a move, two replicas of a model on one node, a later variant."""

SHARED_NODE = 2500
"""What counts against a model whose replicas, two or more, share one node: as much as two moves, not three."""

STEP_MIB = 256
"""VRAM is counted in such steps, so that the numbers stay small."""


def rank_worth(states: Iterable[ModelState]) -> dict[Rank, int]:
    """What one step of VRAM of each rank counts: each rank `RANK_RATIO` times the one below it."""
    ranks = {state.rank(place) for state in states for place in (1, 2)[: state.spec.replicas]}
    return {rank: RANK_RATIO**level for level, rank in enumerate(sorted(ranks, reverse=True))}


def replica_worth(state: ModelState, worth: dict[Rank, int], place: int, *, runs: bool) -> int:
    """What the model's replica number `place` (from 1) counts: the least VRAM it can be served with."""
    weight = worth.get(state.rank(place), 1) * (1 + RUNNING_BONUS if runs else 1)
    return weight * (state.options.least_mib // STEP_MIB)


def model_worth(state: ModelState, worth: dict[Rank, int]) -> int:
    """What the replicas of a model that have a place count together."""
    kept = sum(bool(item.cards) for item in state.items)
    running = sum(bool(item.home and item.cards) for item in state.items)
    return sum(replica_worth(state, worth, place, runs=place <= running) for place in range(1, kept + 1))


def model_loss(state: ModelState) -> int:
    """What counts against the places of a model's replicas."""
    moved = sum(bool(item.cards) and item.moved for item in state.items)
    crowd = sum(count - 1 for count in state.on_nodes.values() if count > 1)
    later = sum(item.option.order for item in state.items if item.option is not None)
    shared = SHARED_NODE if crowd and sum(count > 0 for count in state.on_nodes.values()) == 1 else 0
    return MOVE * moved + shared + TOGETHER * crowd + LESS_PREFERRED * later


def served(states: Iterable[ModelState]) -> int:
    """What a whole plan counts."""
    states = list(states)
    worth = rank_worth(states)
    return sum(model_worth(state, worth) for state in states)
