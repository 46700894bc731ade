"""`plan(fleet, snapshot)`: what stays, what stops, what starts where, and why something does not.

The order of decisions: replicas that nobody wants any more give their slices back; then one replica of every model
before the second of any, higher priority first, each on the card that keeps variants in order of preference, nodes
apart and the remaining hole small. A replica whose spec changed is replaced: the new one starts beside the old while
slices allow, else the old one stops first.
"""

from collections import Counter
from dataclasses import dataclass, field

from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.plan import Action, CardUse, Move, Placement, Plan, Start, Stop, Unplaced
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement.candidates import Candidate, candidates, observed, place, spec_hashes
from aivailable.placement.ledger import Ledger
from aivailable.placement.reasons import reasons, would_help

_WAITING = (ReplicaState.PENDING, ReplicaState.LOST)


def plan(fleet: Fleet, snapshot: Snapshot) -> Plan:
    """Decide what runs where.

    Args:
        fleet: The desired state; variants must be resolved to be placed.
        snapshot: What is observed now.

    Returns:
        Placements of all replicas that shall run, ordered actions, and the reasons for what is not placed. Planning
        again after the actions were carried out gives no action.
    """
    return _Planner(fleet, snapshot).run()


@dataclass(slots=True, kw_only=True)
class _Slots:
    """The replicas of one model while a plan is made.

    `running` match the spec and hold a card; `waiting` match it and hold none; `outdated` do not match it. `decided`
    counts those that need no further decision, `nodes` where they are.
    """

    spec: ModelSpec
    running: list[Replica] = field(default_factory=list)
    waiting: list[Replica] = field(default_factory=list)
    outdated: list[Replica] = field(default_factory=list)
    decided: int = 0
    nodes: Counter[str] = field(default_factory=Counter)
    numbers: set[int] = field(default_factory=set)

    def next_number(self) -> int:
        """Take the lowest replica number that is not in use."""
        number = next(n for n in range(len(self.numbers) + 1) if n not in self.numbers)
        self.numbers.add(number)
        return number


class _Planner:
    """One run: the ledger and the lists that grow while it decides."""

    def __init__(self, fleet: Fleet, snapshot: Snapshot) -> None:
        self._fleet = fleet
        self._snapshot = snapshot
        self._ledger = Ledger(snapshot)
        self._placements: list[Placement] = []
        self._stops: list[Action] = []
        self._starts: list[Action] = []
        self._unplaced: list[Unplaced] = []
        self._stopping = {r.job for r in snapshot.replicas if r.state is ReplicaState.STOPPING}

    def run(self) -> Plan:
        before = {card.uuid: self._ledger.booked_mib(card) for node in self._snapshot.nodes for card in node.cards}
        models = self._sort_replicas()
        for slots in models:
            self._drop_surplus(slots)
        by_priority = sorted(models, key=lambda slots: -slots.spec.priority)
        for number in range(1, max((s.spec.replicas for s in models), default=0) + 1):
            for slots in by_priority:
                if slots.decided < number <= slots.spec.replicas:
                    self._fill(slots)
        for slots in models:
            self._retire(slots)
        return Plan(
            placements=tuple(self._placements),
            actions=(*self._stops, *self._starts),
            unplaced=tuple(self._unplaced),
            cards=self._card_uses(before),
        )

    def _sort_replicas(self) -> list[_Slots]:
        models = {m.name: _Slots(spec=m) for m in self._fleet.models}
        hashes = {m.name: spec_hashes(self._fleet, m) for m in self._fleet.models}
        for replica in sorted(self._snapshot.replicas, key=lambda r: (r.model, r.replica, r.job)):
            if replica.state == ReplicaState.STOPPING:
                continue
            slots = models.get(replica.model)
            if slots is None:
                self._stop(replica, "the fleet does not have this model")
            elif replica.job.rpartition("-")[2] not in hashes[replica.model]:
                slots.outdated.append(replica)
            elif replica.state in _WAITING and not _has_its_card(replica):
                slots.waiting.append(replica)
            else:
                slots.running.append(replica)
        return list(models.values())

    def _drop_surplus(self, slots: _Slots) -> None:
        """Stop what is more than wanted: those that do not serve first, then the highest numbers. Keep the rest."""
        wanted = slots.spec.replicas
        worst_first = sorted(slots.running, key=lambda r: (r.state == ReplicaState.SERVING, -r.replica))
        for replica in worst_first[: max(0, len(slots.running) - wanted)]:
            slots.running.remove(replica)
            self._stop(replica, f"the fleet wants {wanted}")
        while slots.waiting and len(slots.running) + len(slots.waiting) > wanted:
            self._stop(slots.waiting.pop(), f"the fleet wants {wanted}")
        for replica in slots.running:
            slots.nodes[replica.node] += 1
            if placement := observed(self._fleet, slots.spec, replica, self._snapshot):
                self._placements.append(placement)
        slots.decided = len(slots.running)
        slots.numbers = {r.replica for r in (*slots.running, *slots.waiting)}

    def _fill(self, slots: _Slots) -> None:
        """Decide one more replica of a model: placed, or told why not."""
        slots.decided += 1
        waiting = slots.waiting.pop(0) if slots.waiting else None
        number = waiting.replica if waiting else slots.next_number()
        replaced, best = None, self._best(slots, waiting)
        if best is None and slots.outdated:
            replaced, best = self._best_without_an_outdated_one(slots)
        if best is None:
            _, refused = candidates(self._fleet, slots.spec, self._snapshot, self._ledger)
            self._unplaced.append(
                Unplaced(
                    model=slots.spec.name,
                    replica=number,
                    reasons=reasons(refused),
                    would_help=would_help(slots.spec, refused),
                )
            )
            return
        placement = place(self._fleet, slots.spec, best, number)
        self._ledger.take(best.card.uuid, placement.slices[0])
        self._placements.append(placement)
        slots.nodes[placement.node] += 1
        self._begin(slots, placement, waiting, replaced)

    def _begin(self, slots: _Slots, placement: Placement, waiting: Replica | None, replaced: Replica | None) -> None:
        if waiting is not None:
            if _is_for(waiting, placement.job_id, placement.requirement.vendor):
                return  # Nomad has this very job and places it as soon as it can
            self._stops.append(Stop(replica=waiting, why=f"no card of its kind can take it, {placement.node} can"))
        if placement.job_id in self._stopping:
            return  # its id is free again when the old one has ended; the next plan starts it
        if replaced is not None:
            self._stops.append(Stop(replica=replaced, why="its spec changed and there is no room for both"))
            self._starts.append(Start(placement=placement, why=f"replaces the one stopped on {replaced.node}"))
            return
        successor = next((r for r in slots.outdated if r.replica == placement.replica), None)
        if successor is not None:
            self._starts.append(Move(replica=successor, placement=placement, why="its spec changed"))
            return
        why = f"the fleet wants {slots.spec.replicas}"
        self._starts.append(Start(placement=placement, why=why))

    def _best(self, slots: _Slots, waiting: Replica | None = None) -> Candidate | None:
        """The best card for one more replica. What waits stays with Nomad as long as that can place it."""
        found, _ = candidates(self._fleet, slots.spec, self._snapshot, self._ledger)
        if waiting is not None:
            found = [c for c in found if self._nomad_can(waiting, slots.spec, c)] or found
        return min(
            found,
            key=lambda c: (c.order, slots.nodes[c.node.name], c.hole_mib, not c.cached, c.node.name, c.card.index),
            default=None,
        )

    def _nomad_can(self, waiting: Replica, spec: ModelSpec, candidate: Candidate) -> bool:
        placement = place(self._fleet, spec, candidate, waiting.replica)
        return _is_for(waiting, placement.job_id, placement.requirement.vendor)

    def _best_without_an_outdated_one(self, slots: _Slots) -> tuple[Replica | None, Candidate | None]:
        for replica in reversed(slots.outdated):
            self._ledger.give_back(replica)
            if best := self._best(slots):
                slots.outdated.remove(replica)
                return replica, best
            self._ledger.book(replica)
        return None, None

    def _retire(self, slots: _Slots) -> None:
        """Stop replaced replicas as soon as enough others serve; those that do not serve at once."""
        serving = sum(r.state == ReplicaState.SERVING for r in slots.running)
        useful = [r for r in slots.outdated if r.state == ReplicaState.SERVING]
        for replica in slots.outdated:
            if replica not in useful:
                self._stop(replica, "its spec changed")
        for replica in useful[: max(0, serving + len(useful) - slots.spec.replicas)]:
            self._stop(replica, "its spec changed and its replacement serves")

    def _stop(self, replica: Replica, why: str) -> None:
        self._stops.append(Stop(replica=replica, why=why))
        self._ledger.give_back(replica)

    def _card_uses(self, before: dict[str, int]) -> tuple[CardUse, ...]:
        return tuple(
            CardUse(
                node=node.name,
                uuid=card.uuid,
                name=card.name,
                total_mib=card.total_mib,
                before_mib=before[card.uuid],
                after_mib=self._ledger.booked_mib(card),
            )
            for node in self._snapshot.nodes
            for card in node.cards
        )


def _has_its_card(replica: Replica) -> bool:
    """Whether a replica that does not run yet has been given its slices."""
    return replica.state is ReplicaState.PENDING and bool(replica.cards)


def _is_for(waiting: Replica, job_id: str, vendor: str) -> bool:
    """Whether a waiting job is the one that would be submitted: the same id, for cards of the same vendor."""
    return waiting.job == job_id and waiting.vendor in ("", vendor)
