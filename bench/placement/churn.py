"""Arrivals and departures of the trace, replayed: what is refused although the free memory would have been enough.

As recorded the cluster is never full: at most 66 of its 6,212 cards are asked for at once. So a tenth of the nodes is
taken, and lifetimes are stretched, all by one factor, until as many cards are asked for at once as there are.

An ask that finds no place is refused and gone. "Fragmented": the cards it allows had enough memory free together, or
for several whole cards enough free cards. The planner may move what runs; moves are counted and take no time here.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from aivailable.model.cards import Card
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.plan import Move, Plan, Start, Stop
from aivailable.model.replica import Replica
from aivailable.model.snapshot import Snapshot
from aivailable.placement.planner import Planner
from bench.placement.openb import Ask, AskJudge, model_of, read_asks, read_nodes
from bench.placement.worlds import serving
from bench.tables import machine

SEED = 1
HOUR_S = 3600
NODES_STEP = 10
"""Every tenth node takes part."""

Choose = Callable[[list[tuple[int, int]]], int]
"""Which of the fitting places to take: pairs of what is left free and the place's number."""


@dataclass(slots=True)
class Count:
    """What happened in one replay."""

    asks: int = 0
    refused: int = 0
    fragmented: int = 0
    moves: int = 0
    hours: float = 0.0


def measure(nodes: Path, asks_file: Path, *, limit: int | None = None) -> list[dict[str, object]]:
    """A row for every way to choose; `limit` replays the first asks only."""
    whole = read_nodes(nodes)
    snapshot = Snapshot(nodes=whole.nodes[::NODES_STEP])
    asks = sorted(read_asks(asks_file), key=lambda ask: (ask.created_s, ask.name))[:limit]
    asks = stretched(asks, sum(len(node.cards) for node in snapshot.nodes))
    random_ = random.Random(SEED)
    return [
        _row("AIvailable", _replay(asks, _Planned(snapshot))),
        _row("first fit", _replay(asks, _Simple(snapshot, lambda places: min(places, key=lambda p: p[1])[1]))),
        _row("best fit", _replay(asks, _Simple(snapshot, lambda places: min(places)[1]))),
        _row("Nomad's random choice", _replay(asks, _Simple(snapshot, lambda places: random_.choice(places)[1]))),
    ]


def stretched(asks: list[Ask], cards: int) -> list[Ask]:
    """The asks with lifetimes stretched by one factor, so that at most about `cards` are asked for at once."""
    low, high = 1.0, 1e6
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _peak_cards([_longer(ask, middle) for ask in asks]) <= cards else (low, middle)
    return [_longer(ask, low) for ask in asks]


def _longer(ask: Ask, factor: float) -> Ask:
    if ask.deleted_s is None:
        return ask
    return replace(ask, deleted_s=round(ask.created_s + (ask.deleted_s - ask.created_s) * factor))


def _peak_cards(asks: list[Ask]) -> float:
    changes: list[tuple[int, float]] = []
    for ask in asks:
        share = ask.cards * min(1.0, ask.milli / 1000)
        changes.append((ask.created_s, share))
        if ask.deleted_s is not None:
            changes.append((ask.deleted_s, -share))
    now = peak = 0.0
    for _, change in sorted(changes):
        now += change
        peak = max(peak, now)
    return peak


def show(rows: list[dict[str, object]], *, source: str) -> None:
    """The table."""
    print(f"Churn: {source} ({machine()})")
    print(f"{'rule':24} {'asks':>6} {'refused':>8} {'fragmented':>11} {'share':>7} {'moves':>6} {'per hour':>9}")
    for row in rows:
        print(
            f"{row['rule']:24} {row['asks']:>6} {row['refused']:>8} {row['fragmented']:>11}"
            f" {row['fragmented_share']:>7.4f} {row['moves']:>6} {row['moves_per_hour']:>9.4f}"
        )


class _World:
    """Cards and what is free on them, in slices, by node and card."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.cards: list[list[Card]] = [list(node.cards) for node in snapshot.nodes]
        self.free: list[list[int]] = [[card.free_slices for card in node.cards] for node in snapshot.nodes]
        self.judge = AskJudge()

    def slices(self, ask: Ask, spec: ModelSpec, card: Card) -> int:
        """Slices an ask takes of a card; 0: it does not allow it."""
        if ask.allowed and card.name not in ask.allowed:
            return 0
        need = self.judge.need(spec, spec.variants[0], card)
        return getattr(need, "slices", 0)

    def enough_free(self, ask: Ask, spec: ModelSpec) -> bool:
        """Whether the free memory on the cards that the ask allows would do, wherever it is."""
        whole = ask.cards > 1 or ask.milli >= 1000
        share = 0.0
        for cards, free in zip(self.cards, self.free, strict=True):
            for card, left in zip(cards, free, strict=True):
                if need := self.slices(ask, spec, card):
                    # A whole card is free or is not; parts of a card add up over cards.
                    share += float(left >= need) if whole and ask.cards > 1 else left / need
        return share >= (ask.cards if ask.cards > 1 else 1)


class _Simple(_World):
    """A rule that looks at each ask alone and moves nothing."""

    def __init__(self, snapshot: Snapshot, choose: Choose) -> None:
        super().__init__(snapshot)
        self._choose = choose
        self._taken: dict[str, list[tuple[int, int, int]]] = {}
        self.moves = 0

    def add(self, ask: Ask, spec: ModelSpec) -> bool:
        """Place an ask, or not."""
        places: list[tuple[int, int]] = []
        found: list[list[tuple[int, int, int]]] = []
        for number, (cards, free) in enumerate(zip(self.cards, self.free, strict=True)):
            fitting = [
                (number, index, need)
                for index, card in enumerate(cards)
                if (need := self.slices(ask, spec, card)) and free[index] >= need
            ]
            if ask.cards > 1:
                if len(fitting) >= ask.cards:
                    places.append((len(fitting) - ask.cards, len(found)))
                    found.append(fitting[: ask.cards])
            else:
                for one in fitting:
                    places.append((free[one[1]] - one[2], len(found)))
                    found.append([one])
        if not places:
            return False
        taken = found[self._choose(places)]
        for number, index, need in taken:
            self.free[number][index] -= need
        self._taken[ask.name] = taken
        return True

    def remove(self, ask: Ask) -> None:
        """The ask is done."""
        for number, index, need in self._taken.pop(ask.name, ()):
            self.free[number][index] += need


class _Planned(_World):
    """The product's planner, on a snapshot that follows its plans."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self._planner = Planner(self.judge)
        self._nodes = list(snapshot.nodes)
        self._place = {c.uuid: (n, i) for n, node in enumerate(snapshot.nodes) for i, c in enumerate(node.cards)}
        self._models: dict[str, ModelSpec] = {}
        self._replicas: dict[str, Replica] = {}
        self.moves = 0

    def add(self, ask: Ask, spec: ModelSpec) -> bool:
        """Plan with one ask more; where that has no place, the plan is not carried out."""
        fleet = Fleet(models=(*self._models.values(), spec))
        made = self._planner.plan(fleet, Snapshot(nodes=tuple(self._nodes), replicas=tuple(self._replicas.values())))
        if made.unplaced:
            return False
        self._models[ask.name] = spec
        self._carry_out(made)
        return True

    def remove(self, ask: Ask) -> None:
        """The ask is done."""
        if self._models.pop(ask.name, None):
            for job in [job for job, replica in self._replicas.items() if replica.model == ask.name]:
                self._end(job)

    def _carry_out(self, made: Plan) -> None:
        for action in made.actions:
            if isinstance(action, Stop | Move):
                self._end(action.replica.job)
            if isinstance(action, Start | Move):
                placement = action.placement
                self.moves += bool(placement.replaces)
                self._replicas[placement.job_id] = serving(placement)
                self._book(placement.cards, placement.claim_mib, 1)

    def _end(self, job: str) -> None:
        replica = self._replicas.pop(job, None)
        if replica is not None:
            self._book(replica.cards, replica.claim_mib, -1)

    def _book(self, uuids: tuple[str, ...], claims: tuple[int, ...], sign: int) -> None:
        for uuid, mib in zip(uuids, claims, strict=True):
            number, index = self._place[uuid]
            node = self._nodes[number]
            slices = sign * (mib // node.cards[index].slice_mib)
            cards = list(node.cards)
            cards[index] = replace(cards[index], free_slices=cards[index].free_slices - slices)
            self._nodes[number] = replace(node, cards=tuple(cards))
            self.free[number][index] -= slices


def _replay(asks: list[Ask], world: "_Simple | _Planned") -> Count:
    count = Count()
    ends: list[tuple[int, int]] = []
    for number, ask in enumerate(asks):
        while ends and ends[0][0] <= ask.created_s:
            world.remove(asks[heapq.heappop(ends)[1]])
        spec = model_of(ask)
        count.asks += 1
        if world.add(ask, spec):
            if ask.deleted_s is not None:
                heapq.heappush(ends, (ask.deleted_s, number))
        else:
            count.refused += 1
            count.fragmented += world.enough_free(ask, spec)
    count.moves = world.moves
    count.hours = (asks[-1].created_s - asks[0].created_s) / HOUR_S if asks else 0.0
    return count


def _row(name: str, count: Count) -> dict[str, object]:
    return {
        "rule": name,
        "asks": count.asks,
        "refused": count.refused,
        "fragmented": count.fragmented,
        "fragmented_share": count.fragmented / max(1, count.asks),
        "moves": count.moves,
        "moves_per_hour": count.moves / count.hours if count.hours else 0.0,
    }
