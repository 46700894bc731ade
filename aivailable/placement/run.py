"""One plan in the making, from the replicas found to placements, actions and reasons.

The order of decisions: replicas that nobody wants any more give their slices back; then one replica of every model
before the second of any, higher priority first, large ones before small ones. Each goes to the best card with room
(`choose`); where there is none, an outdated replica of its own model gives way, then others move over, then replicas
that matter less are evicted (`repair`). What is decided becomes an order of actions (`outcome`, `sequence`).
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Protocol

from aivailable.model.cards import Card
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.plan import CardUse, Intention, Placement, Plan, Stop
from aivailable.model.replica import Replica, ReplicaState, hash_of, number_of
from aivailable.model.snapshot import Snapshot
from aivailable.placement.choose import Choice, best
from aivailable.placement.following import follow, intentions
from aivailable.placement.forsaken import why_forsaken
from aivailable.placement.improve import POOL, Improve
from aivailable.placement.options import Option, Options
from aivailable.placement.outcome import deferred, label, outcome_of
from aivailable.placement.rack import Rack, card_use, free_slices
from aivailable.placement.reasons import unplaced
from aivailable.placement.repair import Repair
from aivailable.placement.sequence import sequence
from aivailable.placement.sorting import Sorted, is_waiting, sort_replicas
from aivailable.placement.spreading import spread
from aivailable.placement.state import Board, Held, Item, ModelState
from aivailable.placement.turns import take_turns

REPAIR_STEPS = 6_000
"""Attempts at making room in one plan, some 25 µs each: a plan ends in bounded time, whatever is asked of it."""

Kept = tuple[Replica, ModelSpec, Placement, Card]
"""A replica that runs as wanted, its model, its placement, and the first of its cards: what all of that rests on."""


class Memory(Protocol):
    """What was worked out before, or is now and may be used again: a `Planner`."""

    def options(self, fleet: Fleet, spec: ModelSpec) -> Options:
        """The options of a model."""

    def rack(self, snapshot: Snapshot) -> Rack:
        """The cards of a snapshot."""

    @property
    def kept(self) -> Mapping[int, Kept]:
        """The replicas found running as wanted in the plan before, by `id`."""


class Run:
    """The state of one plan.

    `kept` are the replicas found running as wanted, by `id`, for the next plan. The jobs in `pinned` stay where they
    are; `stuck` are those that the plan made could only move by interrupting a model that may not be: it does not.
    """

    def __init__(self, memory: Memory, fleet: Fleet, snapshot: Snapshot, pinned: Collection[str] = ()) -> None:
        self._memory, self._fleet, self._snapshot = memory, fleet, snapshot
        self._pinned = pinned
        self._followed = False
        self.stuck: frozenset[str] = frozenset()
        self.rack = memory.rack(snapshot)
        self.board = Board(self.rack)
        self.kept: dict[int, Kept] = {}
        self.states: dict[int, ModelState] = {}
        self._settled: dict[int, list[Replica]] = {}
        self._placements: list[list[Placement]] = [[] for _ in fleet.models]
        self._on_one_node_now: list[int] = []
        self._settled_on: dict[int, set[int]] | None = None
        self._stops: list[Stop] = []
        self._leaving: list[Replica] = []
        self._queue: list[tuple[int, ...]] = []
        self.repair = Repair(self.board, REPAIR_STEPS, self._occupants)
        self._weakest = max(((m.replicas > 1, -m.priority) for m in fleet.models), default=(False, 0))
        self._can_shrink = any(len(spec.variants) > 1 for spec in fleet.models)
        self._look_at_replicas()

    def follow(self, intended: Iterable[Intention]) -> bool:
        """Go on with what an earlier plan decided; False: that cannot be done, and this run is of no use any more."""
        wanted = {intention.spec.name for intention in intended}
        for position in [p for p in self._settled if self._fleet.models[p].name in wanted]:
            self._open(position, self._fleet.models[position], self._settled.pop(position))
        self._followed = follow(self.board, intended, self._by_name())
        return self._followed

    def plan(self) -> Plan:
        """Decide everything that is not decided yet."""
        for state in self.states.values():
            self._queue_next(state)
        while self._queue:
            self._fill(self.states[heapq.heappop(self._queue)[-1]])
        self._reconsider()
        for state in self.states.values():
            state.renumber()
        changes, told, later = [], [], []
        for position, state in sorted(self.states.items()):
            outcome = outcome_of(self.rack, state)
            changes += outcome.changes
            self._stops += outcome.stops
            kept = [self.kept[id(i.replica)][2] for i in state.items if i.replica and i.home and not i.moved]
            found = [*kept, *(change.placement for change in outcome.changes), *outcome.waiting]
            self._placements[position] = sorted(found, key=lambda p: p.replica)
            if waits := deferred(state):
                later.append(waits)
            if missing := unplaced(self.rack, self.board, state, self._occupants, waits.count if waits else 0):
                told.append(missing)
        actions, self.stuck = sequence(self.rack, self._stops, changes, self._leaving)
        return Plan(
            placements=tuple(chain.from_iterable(self._placements)),
            actions=take_turns(actions, self._snapshot.replicas),
            unplaced=tuple(told),
            deferred=tuple(later),
            intended=intentions(changes, self._by_name()),
            cards=self._card_uses(),
        )

    def open_all(self) -> None:
        """Make every replica an item, also of models that nothing has to be decided about."""
        for position in list(self._settled):
            self._open(position, self._fleet.models[position], self._settled.pop(position))

    def displace(self, item: Item, why: str) -> None:
        """Take a running replica's place away, so that it looks for another one."""
        self.board.lift(item)
        item.why = why
        item.model.placed -= 1
        item.model.displaced.append(item)

    def put(self, item: Item, option: Option, cards: tuple[int, ...]) -> None:
        """Give a replica a place: one that was displaced, or a new one, whose number is decided here."""
        state = item.model
        if item in state.displaced:
            state.displaced.remove(item)
        else:
            item = self._next_item(state) or item
            state.items.append(item)
        self.board.put(item, option, cards)
        state.placed += 1

    def _by_name(self) -> dict[str, ModelState]:
        return {state.spec.name: state for state in self.states.values()}

    def _look_at_replicas(self) -> None:
        by_model: dict[str, list[Replica]] = defaultdict(list)
        for replica in self._snapshot.replicas:
            if replica.state is ReplicaState.STOPPING:
                self._give_back(replica)
                self._leaving.append(replica)
            else:
                by_model[replica.model].append(replica)
        wanted = {spec.name for spec in self._fleet.models}
        for name in sorted(by_model.keys() - wanted):
            for replica in sorted(by_model[name], key=lambda r: (r.replica, r.job)):
                self._stop(replica, "the fleet does not have this model")
        for position, spec in enumerate(self._fleet.models):
            replicas = by_model.get(spec.name, [])
            if len(replicas) != spec.replicas or not replicas or not self._is_settled(position, spec, replicas):
                self._open(position, spec, replicas)

    def _is_settled(self, position: int, spec: ModelSpec, replicas: list[Replica]) -> bool:
        """Whether nothing needs to be decided about a model's replicas; they are noted as they are then."""
        cards, by_uuid, kept = self.rack.cards, self.rack.by_uuid, self.kept
        before = self._memory.kept if cards else {}
        placements = []
        for replica in replicas:
            entry = before.get(id(replica))
            if (
                entry is None
                or entry[0] is not replica
                or entry[1] is not spec
                or replica.forsaken
                or cards[by_uuid.get(replica.cards[0], 0)] is not entry[3]
                or (self.rack.troubled and self.rack.node_of[by_uuid[replica.cards[0]]] in self.rack.troubled)
            ):
                entry = self._settled_entry(replica, spec)
                if entry is None:
                    return False
            kept[id(replica)] = entry
            placements.append(entry[2])
        self._settled[position], self._placements[position] = replicas, placements
        if len(replicas) > 1 and len({replica.node for replica in replicas}) == 1:
            self._on_one_node_now.append(position)
        return True

    def _settled_entry(self, replica: Replica, spec: ModelSpec) -> Kept | None:
        """What is kept of a replica about which nothing needs to be decided: it runs, or will, where it is to."""
        options = self._memory.options(self._fleet, spec)
        if is_waiting(replica) or replica.replaces or hash_of(replica.job) not in options.hashes():
            return None
        if why_forsaken(replica, self.rack, options):
            return None
        placement = self._as_running(replica, options)
        if placement is None:
            return None
        return (replica, spec, placement, self.rack.cards[self.rack.by_uuid[replica.cards[0]]])

    def _as_running(self, replica: Replica, options: Options) -> Placement | None:
        cards = [self.rack.by_uuid.get(uuid) for uuid in replica.cards]
        known = [card for card in cards if card is not None]
        if not known or len(known) < len(cards):
            return None
        node = self.rack.nodes[self.rack.node_of[known[0]]]
        return options.as_running(replica, node, tuple(self.rack.cards[card] for card in known))

    def _open(self, position: int, spec: ModelSpec, replicas: Sequence[Replica]) -> ModelState:
        """Make a model's replicas items that can be decided about."""
        options = self._memory.options(self._fleet, spec)
        state = self.states[position] = ModelState(options=options, position=position)
        reasons = {replica.job: why_forsaken(replica, self.rack, options) for replica in replicas}
        forsaken = {job: why for job, why in reasons.items() if why}
        failed = {f.hash8: f"it does not start: {f.reason}" for f in self._snapshot.failed}
        found = sort_replicas(replicas, options.hashes(), spec.replicas, forsaken, failed) if replicas else Sorted()
        for replica, why in found.stops:
            self._stop(replica, why)
        for replica in found.leaving:
            self._give_back(replica)
            self._leaving.append(replica)
        for replica in found.running:
            item = Item(state, replica.replica, replica)
            item.fixed = replica.job in found.arriving or replica.job in self._pinned
            self._stand(item)
            state.items.append(item)
            if item.home and (placement := self._as_running(replica, options)):
                self.kept[id(replica)] = (replica, spec, placement, self.rack.cards[item.home[0]])
        for replica in found.outdated:
            item = Item(state, replica.replica, replica)
            item.fixed = item.outdated = True
            item.forsaken = forsaken.get(replica.job, "")
            self._stand(item)
            state.outdated.append(item)
        state.waiting = found.waiting
        state.placed = len(found.running)
        going_on = (*found.running, *found.outdated, *found.leaving)
        state.serving = sum(replica.state is ReplicaState.SERVING for replica in going_on)
        state.numbers = {r.replica for r in (*found.running, *found.waiting, *found.leaving)}
        # The successor of one that is forsaken has the same spec: only its number tells their jobs apart.
        state.numbers |= {r.replica for r in found.outdated if r.job in forsaken}
        # A job that somebody replaced may not come back under its old name: it would be taken for the one to stop.
        state.numbers |= {number_of(r.replaces) for r in (*found.running, *found.waiting) if r.replaces}
        return state

    def _stand(self, item: Item) -> None:
        """Where it is now. A replica whose card or variant is not known keeps its number and takes part in nothing."""
        replica = item.replica
        if replica is None:
            raise AssertionError("what stands was observed")
        order = item.model.options.order_of(replica)
        cards = tuple(index for uuid in replica.cards if (index := self.rack.by_uuid.get(uuid)) is not None)
        if (
            cards
            and len(cards) == len(replica.cards) == len(replica.claim_mib)
            and (order is not None or item.outdated)
        ):
            slices = self.rack.cards[cards[0]].slices_for(replica.claim_mib[0])
            self.board.stand(item, Option(order or 0, self.rack.kind_of[cards[0]], slices, len(cards), None), cards)

    def _occupants(self, card: int) -> list[Item]:
        """The items on a card; those of models that nothing had to be decided about become items when asked for."""
        if self._settled_on is None:
            self._settled_on = defaultdict(set)
            for position, replicas in self._settled.items():
                for replica in replicas:
                    for uuid in replica.cards:
                        self._settled_on[self.rack.by_uuid[uuid]].add(position)
        for position in sorted(self._settled_on.pop(card, ())):
            if position in self._settled:
                self._open(position, self._fleet.models[position], self._settled.pop(position))
        return self.board.on_card.get(card, [])

    def _queue_next(self, state: ModelState) -> None:
        """Queue the model's next decision, if one is left."""
        spec = state.spec
        place = state.placed + len(state.lost) + 1
        more = place <= spec.replicas and not state.exhausted
        if state.displaced or state.waiting or more:
            size_mib, choices = state.options.least_mib, sum(map(len, state.options.by_variant))
            heapq.heappush(self._queue, (place, -spec.priority, -size_mib, choices, state.position))

    def _next_item(self, state: ModelState) -> Item | None:
        """The model's next replica to decide about: one that waits already, else a new one; None: all are decided."""
        if state.waiting:
            waiting = state.waiting.pop(0)
            item = Item(state, waiting.replica)
            item.waiting = waiting
            return item
        if state.placed + len(state.lost) < state.spec.replicas and not state.exhausted:
            return Item(state, state.next_number())
        return None

    def _fill(self, state: ModelState) -> None:
        """Decide one more replica of a model: placed, or not."""
        item = state.displaced.pop(0) if state.displaced else self._next_item(state)
        if item is None:
            return
        if self._place(item):
            state.placed += 1
            if item not in state.items:
                state.items.append(item)
        else:
            state.lost.append(item)
            state.exhausted = True
        self._queue_next(state)

    def _reconsider(self) -> None:
        """Look again at what found no place, now that everything else has its own."""
        room = POOL
        for state in self.states.values():
            if state.options.least_mib:
                while room > 0 and state.placed + len(state.lost) < state.spec.replicas:
                    state.lost.append(Item(state, state.next_number()))
                    room -= 1
        if self._followed:
            return
        Improve(self.board, self.states.values()).run()
        for position in self._on_one_node_now:
            if position in self._settled:
                self._open(position, self._fleet.models[position], self._settled.pop(position))
        spread(self.board, self.repair, list(self.states.values()))
        for state in sorted(self.states.values(), key=lambda s: (*s.rank(s.placed + 1), s.position)):
            state.exhausted = False
            for item in list(state.lost):
                if not self._fits_somewhere(item):
                    break
                state.lost.remove(item)
                state.placed += 1
                if item not in state.items:
                    state.items.append(item)

    def _place(self, item: Item) -> bool:
        state = item.model
        if choice := self._with_room(item):
            if self._on_one_node(state, choice) and self._by_moves(item, elsewhere=True):
                return True
            self.board.put(item, *choice)
            return True
        if self._instead_of_outdated(item, lambda: self._put_best(item)):
            return True
        if state.exhausted:
            return False
        if self._by_moves(item) or self._instead_of_outdated(item, lambda: self._by_moves(item)):
            return True
        if state.rank(state.placed + 1) >= self._weakest:
            return False
        victims = self.repair.by_eviction(item)
        for victim in victims:
            victim.why = f"makes room for {label(item)}, which matters more"
            if not victim.outdated:
                victim.model.placed -= 1
                victim.model.displaced.append(victim)
                self._queue_next(victim.model)
        return bool(victims)

    def _instead_of_outdated(self, item: Item, place: Callable[[], bool]) -> bool:
        """Place it with `place` once an outdated replica of its model, the last one first, has given its room back."""
        state = item.model
        for old in reversed(state.outdated):
            if old.cards and old.replica:
                mark = self.board.mark()
                self.board.lift(old)
                if place():
                    state.held = _why_held(state, old, item)
                    if state.held is None:
                        state.serving -= old.serves
                        reason = old.forsaken or "its spec changed"
                        item.instead_of, old.why = old.replica, f"{reason} and there is no room for both"
                        return True
                self.board.undo(mark)
        return False

    def _put_best(self, item: Item) -> bool:
        if choice := best(self.rack, item.model):
            self.board.put(item, *choice)
        return choice is not None

    def _fits_somewhere(self, item: Item) -> bool:
        if choice := self._with_room(item):
            self.board.put(item, *choice)
            return True
        return self._by_moves(item)

    def _on_one_node(self, state: ModelState, choice: Choice) -> bool:
        """Whether with this choice all replicas of a model, two or more, would go down with one node."""
        on = {node for node, count in state.on_nodes.items() if count}
        return on == {self.rack.node_of[choice[1][0]]} and len(self.rack.nodes) > 1

    def _by_moves(self, item: Item, *, elsewhere: bool = False) -> bool:
        """Place an item by moving others, and note for them why they move; `elsewhere`: where its model is not yet."""
        least_mib = item.model.options.least_mib
        if not least_mib or (self.rack.free_mib < least_mib and not self._can_shrink):
            return False
        mark = self.board.mark()
        if not self.repair.by_moves(item, elsewhere=elsewhere):
            return False
        for other in self.board.touched(mark):
            other.why = other.why or f"makes room for {label(item)}"
        return True

    def _with_room(self, item: Item) -> Choice | None:
        """The best place as things are. What waits stays with Nomad as long as that can place it."""
        state, waiting = item.model, item.waiting
        if waiting is not None:
            kinds = self.rack.kinds.all

            def nomad_can(option: Option) -> bool:
                card, need = kinds[option.kind].card, option.need
                if need is None:
                    return False
                spec = state.options.spec_of(option.order, need.engine, simulated=card.simulated)
                return is_for(waiting, spec.job_id(item.number), card.vendor)

            if choice := best(self.rack, state, allowed=nomad_can):
                item.fixed = True
                return choice
        return best(self.rack, state)

    def _stop(self, replica: Replica, why: str) -> None:
        self._stops.append(Stop(replica=replica, why=why))
        self._give_back(replica)

    def _give_back(self, replica: Replica) -> None:
        for uuid, claim_mib in zip(replica.cards, replica.claim_mib, strict=False):
            card = self.rack.by_uuid.get(uuid)
            if card is not None:
                self.rack.take(card, -self.rack.cards[card].slices_for(claim_mib))

    def _card_uses(self) -> tuple[CardUse, ...]:
        rack = self.rack
        uses = {node.name: known.uses for node, known in zip(rack.nodes, rack.known, strict=True)}
        for number in {rack.node_of[card] for card in rack.touched}:
            node = rack.nodes[number]
            uses[node.name] = tuple(
                card_use(node, rack.cards[index], free_slices(rack.cards[index]) - rack.free[index])
                for index in rack.in_nodes[number]
            )
        return tuple(use for node in self._snapshot.nodes for use in uses[node.name])


def _why_held(state: ModelState, old: Item, new: Item) -> Held | None:
    """Why an outdated replica may not stop for its successor; None: it may. Those that serve go one at a time."""
    if not old.serves:
        return None
    if any(item.cards and item is not new and not item.serves for item in state.items):
        return Held.TURN
    return None if state.spare else Held.MIN_AVAILABLE


def is_for(waiting: Replica, job_id: str, vendor: str) -> bool:
    """Whether a waiting job is the one that would be submitted: the same id, for cards of the same vendor."""
    return waiting.job == job_id and waiting.vendor in ("", vendor)
