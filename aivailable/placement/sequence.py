"""The order of actions: at every step each card holds what it can, and stopping half-way leaves a working rack.

What nobody wants stops first. Then each start and each move is done as soon as its cards have the room: a move starts
the new replica, and stops the old one when that serves. Where moves wait for each other in a circle, the one that is
cheapest to interrupt stops first.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aivailable.model.plan import Action, Move, Placement, Start, Stop
from aivailable.model.replica import Replica, ReplicaState
from aivailable.placement.rack import Rack, free_slices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """A replica that shall run where it does not run yet.

    `cards` are its cards in the rack, `rank` orders changes. `replica` runs now and moves: its slices are free when the
    new one serves. `successor_of` is outdated and goes on serving; what becomes of it is a later plan's matter.
    `reason` is the part of `why` that tells for whom it moves. `spare` is how many of those that serve its model can do
    without for a while; `cost` is what interrupting it costs.
    """

    placement: Placement
    cards: tuple[int, ...]
    why: str
    rank: tuple[int, ...]
    replica: Replica | None = None
    successor_of: Replica | None = None
    reason: str = ""
    spare: int = 1
    cost: float = 0.0


def sequence(
    rack: Rack, stops: Sequence[Stop], changes: Iterable[Change], leaving: Iterable[Replica]
) -> tuple[tuple[Action, ...], frozenset[str]]:
    """Stops and changes as a list of actions that is valid at every step; `leaving` are on their way out already.

    Returns:
        The actions, and the jobs that would have to be interrupted for the rest, whose models cannot spare them.
    """
    order = _Order(rack)
    for replica in leaving:
        order.frees(replica)
    for stop in stops:
        order.actions.append(stop)
        order.frees(stop.replica)
    pending = sorted(changes, key=lambda change: change.rank)
    interrupted: Counter[str] = Counter()
    while pending:
        left = [change for change in pending if not order.begin(change)]
        if len(left) == len(pending):
            moving = [c for c in left if c.replica is not None and c.replica.job not in order.ending]
            if not moving:
                break  # the slices are held by what no snapshot names; the next plan sees more
            may = [c for c in moving if not _serves(c) or interrupted[c.placement.spec.model] < c.spare]
            if not may:
                return tuple(order.actions), frozenset(c.replica.job for c in moving if c.replica is not None)
            first = min(may, key=lambda c: (c.cost, c.rank))
            interrupted[first.placement.spec.model] += _serves(first)
            order.interrupt(first)
        pending = left
    return tuple(order.actions), frozenset()


def _serves(change: Change) -> bool:
    return change.replica is not None and change.replica.state is ReplicaState.SERVING


class _Order:
    """Slices free at this point of the list, and of those the ones that are free already now."""

    def __init__(self, rack: Rack) -> None:
        self._rack = rack
        self._free: dict[int, int] = {}
        self._now: dict[int, int] = {}
        self._freed_by: dict[int, list[str]] = {}
        self.ending: set[str] = set()
        self.actions: list[Action] = []

    def frees(self, replica: Replica) -> None:
        """The job of the replica ends: after that its slices are free."""
        if replica.job in self.ending:
            return
        self.ending.add(replica.job)
        for uuid, mib in zip(replica.cards, replica.claim_mib, strict=False):
            card = self._rack.by_uuid.get(uuid)
            if card is not None:
                self._look_at(card)
                self._free[card] += self._rack.cards[card].slices_for(mib)
                self._freed_by.setdefault(card, []).append(replica.job)

    def begin(self, change: Change) -> bool:
        """Start what has room now, and say so; a replica that moves frees its slices by that."""
        placement = change.placement
        wanted = list(zip(change.cards, placement.slices, strict=True))
        for card, _ in wanted:
            self._look_at(card)
        if any(self._free[card] < slices for card, slices in wanted):
            return False
        waits_for: tuple[str, ...] = ()
        if any(self._now[card] < slices for card, slices in wanted):
            waits_for = tuple(dict.fromkeys(job for card, _ in wanted for job in self._freed_by.get(card, ())))
        if placement.job_id in self.ending and placement.job_id not in waits_for:
            waits_for = (*waits_for, placement.job_id)
        for card, slices in wanted:
            self._free[card] -= slices
            if not waits_for:
                self._now[card] -= slices
        mover = change.replica if change.replica and change.replica.job not in self.ending else change.successor_of
        if mover is None:
            self.actions.append(Start(placement=placement, why=change.why, waits_for=waits_for))
        else:
            self.actions.append(Move(replica=mover, placement=placement, why=change.why, waits_for=waits_for))
            if mover is change.replica:
                self.frees(mover)
        return True

    def interrupt(self, change: Change) -> None:
        """Stop what moves before it runs elsewhere."""
        if change.replica is not None:
            self.actions.append(Stop(replica=change.replica, why=f"{change.why}; no room for both"))
            self.frees(change.replica)

    def _look_at(self, card: int) -> None:
        if card not in self._free:
            self._free[card] = self._now[card] = free_slices(self._rack.cards[card])
