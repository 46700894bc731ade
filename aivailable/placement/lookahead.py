"""Plans for what has not happened: a node lost, a hole opened without anybody asking for it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations

from aivailable.errors import UserError
from aivailable.model.fleet import Fleet
from aivailable.model.plan import Plan
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement.choose import best
from aivailable.placement.planner import Planner, plan
from aivailable.placement.repair import cost
from aivailable.placement.run import Run
from aivailable.placement.state import Item

MOVED_AT_MOST = 3
"""Replicas moved off one card to open a hole there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """One model when nodes are lost: replicas wanted, serving on elsewhere, found another place, and those without."""

    model: str
    wanted: int
    left: int
    replaced: int
    unplaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """The largest piece of one card that is free: before and after, in MiB; `node` and `card` are where it opens."""

    before_mib: int
    after_mib: int
    node: str = ""
    card: str = ""


def without_nodes(snapshot: Snapshot, names: Collection[str]) -> Snapshot:
    """The snapshot as it would be if these nodes were lost now.

    Raises:
        UserError: There is no such node.
    """
    known = {node.name for node in snapshot.nodes}
    if unknown := sorted(set(names) - known):
        raise UserError(f"no node is named {unknown[0]}", hint=f"nodes are {', '.join(sorted(known)) or 'not there'}")
    return Snapshot(
        nodes=tuple(replace(node, ready=node.ready and node.name not in names) for node in snapshot.nodes),
        replicas=tuple(
            replace(r, state=ReplicaState.LOST, node="", cards=(), claim_mib=(), note=f"lost with {r.node}")
            if r.node in names and r.state is not ReplicaState.STOPPING
            else r
            for r in snapshot.replicas
            if not (r.node in names and r.state is ReplicaState.STOPPING)
        ),
    )


def survival(fleet: Fleet, snapshot: Snapshot, made: Plan) -> tuple[Survival, ...]:
    """For every model, what a plan for a snapshot with lost nodes means."""
    staying = {replica.job for replica in snapshot.replicas if replica.cards}
    told = []
    for spec in fleet.models:
        mine = [placement for placement in made.placements if placement.spec.model == spec.name]
        left = sum(placement.job_id in staying for placement in mine)
        told.append(
            Survival(
                model=spec.name,
                wanted=spec.replicas,
                left=left,
                replaced=len(mine) - left,
                unplaced=max(0, spec.replicas - len(mine)),
            )
        )
    return tuple(told)


def defragment(fleet: Fleet, snapshot: Snapshot) -> tuple[Plan, Hole]:
    """The cheapest moves that open the largest hole on one card, beside what the plan does anyway.

    Returns:
        The plan with those moves, and the hole. The hole's sizes are equal when no move makes it larger.

    Raises:
        UserError: There is something to do already: that comes first.
    """
    base = plan(fleet, snapshot)
    if base.actions:
        raise UserError(
            "the cluster is not as the fleet wants it yet: first things first",
            hint="`aivailable plan` shows what is still to be done",
        )
    run = Run(Planner(), fleet, snapshot)
    run.open_all()
    rack = run.rack
    usable = [card for card in range(len(rack.cards)) if rack.usable(rack.kind_of[card])]
    before_mib = max((_free_mib(run, card) for card in usable), default=0)
    found: tuple[tuple[int, int, float, int], int, tuple[Item, ...]] | None = None
    for card in usable:
        items = [item for item in run.board.on_card.get(card, ()) if not item.fixed and len(item.cards) == 1]
        for together in range(1, MOVED_AT_MOST + 1):
            for chosen in combinations(items, together):
                freed = sum(run.board.slices(item, card) for item in chosen)
                opened_mib = _free_mib(run, card) + freed * rack.slice_mib(card)
                key = (-opened_mib, together, sum(map(cost, chosen)), card)
                better = opened_mib > before_mib and (found is None or key < found[0])
                if better and _moves_off(run, card, chosen, try_only=True):
                    found = key, card, chosen
    if found is None:
        return base, Hole(before_mib=before_mib, after_mib=before_mib)
    key, card, chosen = found
    _moves_off(run, card, chosen, try_only=False)
    for item in chosen:
        item.why, item.fixed = f"opens a hole of {-key[0]} MiB", True
    node = rack.nodes[rack.node_of[card]]
    return run.plan(), Hole(before_mib=before_mib, after_mib=-key[0], node=node.name, card=rack.cards[card].name)


def _free_mib(run: Run, card: int) -> int:
    return max(0, run.rack.free[card]) * run.rack.slice_mib(card)


def _moves_off(run: Run, card: int, chosen: tuple[Item, ...], *, try_only: bool) -> bool:
    """Move items off a card to where there is room as things are; or only find out whether that can be done."""
    board, rack = run.board, run.rack
    mark = board.mark()
    for item in chosen:
        board.lift(item)
    hole = max(0, rack.free[card])
    rack.take(card, hole)  # nothing may land in the hole that is being opened
    done = True
    for item in sorted(chosen, key=lambda i: -i.model.options.least_mib):
        keeps = item.stands_as.order if item.stands_as is not None else None
        choice = best(rack, item.model, last=keeps)
        if choice is None:
            done = False
            break
        board.put(item, *choice)
    rack.take(card, -hole)
    if try_only or not done:
        board.undo(mark)
    return done
