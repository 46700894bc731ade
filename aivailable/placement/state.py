"""Replicas while a plan is being made: where each one is to be in the end, and how the replicas of a model spread."""

from dataclasses import dataclass, field
from enum import Enum

from aivailable.model.fleet import ModelSpec
from aivailable.model.replica import Replica, ReplicaState
from aivailable.placement.options import Option, Options
from aivailable.placement.rack import Rack

Rank = tuple[bool, int]
"""Who goes before whom, smaller first: the first replica of every model before the second of any, then by priority."""


class Held(Enum):
    """Why an outdated replica may not stop yet: another of its model is on its way, or too few would be left."""

    TURN = "turn"
    MIN_AVAILABLE = "min_available"


class Item:
    """One replica that is to run: `replica` is it as observed (None: new), `home` the cards that it holds now.

    `option` and `cards` are where it is to be in the end; without cards it has no place. `stands_as` is the option that
    it runs as, with the slices as booked. `fixed`: it is not to be moved. `outdated`: it is not what the fleet asks
    for, and serves until its successor does; `forsaken` says why, where it is of the right spec. `waiting` is its job
    that holds no card yet, `instead_of` the outdated replica that has to stop before it starts. `why` tells for whom
    it moves or gives way.
    """

    __slots__ = (
        *("cards", "fixed", "forsaken", "home", "instead_of", "model", "number"),
        *("option", "outdated", "replica", "stands_as", "waiting", "why"),
    )

    def __init__(self, model: "ModelState", number: int, replica: Replica | None = None) -> None:
        self.model = model
        self.number = number
        self.replica = replica
        self.option: Option | None = None
        self.cards: tuple[int, ...] = ()
        self.home: tuple[int, ...] = ()
        self.stands_as: Option | None = None
        self.fixed = False
        self.outdated = False
        self.waiting: Replica | None = None
        self.instead_of: Replica | None = None
        self.why = ""
        self.forsaken = ""

    @property
    def moved(self) -> bool:
        """Whether it runs now and is to run elsewhere, or otherwise, or not at all."""
        return bool(self.home) and (self.cards != self.home or self.option is not self.stands_as)

    @property
    def serves(self) -> bool:
        """Whether it serves now."""
        return self.replica is not None and self.replica.state is ReplicaState.SERVING

    @property
    def loose(self) -> bool:
        """Whether giving it another place interrupts nothing that the plan would not interrupt anyway."""
        return not self.fixed and not self.outdated and (self.replica is None or self.moved)


@dataclass(slots=True, kw_only=True, eq=False)
class ModelState:
    """The replicas of one model while a plan is made.

    `items` are those that have a place, or had one and gave way; `waiting` match the spec and hold no card; `outdated`
    do not match it; `displaced` gave way and look for another place; `lost` found none. `placed` counts the items with
    a place; `on_nodes`, `on_racks` and `on_classes` count them there. `serving` counts the replicas that serve and go
    on; `held` says why an outdated one may not stop before its successor starts, where that would give it room.
    """

    options: Options
    position: int
    items: list[Item] = field(default_factory=list)
    waiting: list[Replica] = field(default_factory=list)
    outdated: list[Item] = field(default_factory=list)
    displaced: list[Item] = field(default_factory=list)
    lost: list[Item] = field(default_factory=list)
    placed: int = 0
    exhausted: bool = False
    serving: int = 0
    held: Held | None = None
    numbers: set[int] = field(default_factory=set)
    on_nodes: dict[int, int] = field(default_factory=dict)
    on_racks: dict[str, int] = field(default_factory=dict)
    on_classes: dict[str, int] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        """What the fleet says of the model."""
        return self.options.spec

    def next_number(self) -> int:
        """Take the lowest replica number that is not in use."""
        number = len(self.numbers)  # right when there are no gaps; else there is a lower one
        if number in self.numbers or self._gaps:
            number = next(n for n in range(len(self.numbers) + 1) if n not in self.numbers)
        self.numbers.add(number)
        return number

    @property
    def spare(self) -> int:
        """How many of those that serve may be interrupted."""
        return max(0, self.serving - self.options.spec.kept_serving)

    @property
    def _gaps(self) -> bool:
        return bool(self.numbers) and max(self.numbers) >= len(self.numbers)

    def renumber(self) -> None:
        """Give the lowest of the new numbers to the new replicas that have a place."""
        placed = [item for item in self.items if item.replica is None and item.waiting is None]
        without = [item for item in self.lost if item.replica is None and item.waiting is None]
        numbers = sorted(item.number for item in (*placed, *without))
        for item, number in zip((*sorted(placed, key=lambda i: i.number), *without), numbers, strict=True):
            item.number = number

    def rank(self, place: int) -> Rank:
        """The rank of the model's replica number `place`, counted from 1."""
        return place > 1, -self.options.spec.priority


class Board:
    """The rack with the replicas on it. Everything done can be undone up to a mark."""

    def __init__(self, rack: Rack) -> None:
        self.rack = rack
        self.on_card: dict[int, list[Item]] = {}
        self._done: list[tuple[Item, Option | None, tuple[int, ...]]] = []

    def put(self, item: Item, option: Option, cards: tuple[int, ...]) -> None:
        """Give an item without a place its place; where it stands and has room as it is, it stays as it is."""
        home = self.back_home(item)
        if home is not None and cards == item.home and option.order == home[0].order:
            option = home[0]
        self._done.append((item, None, ()))
        self._set(item, option, cards)

    def back_home(self, item: Item) -> tuple[Option, tuple[int, ...]] | None:
        """Where a running item that was lifted stands, if that is still free."""
        if item.stands_as is None or not item.home:
            return None
        booked = zip(item.home, self._booked(item), strict=True)
        return (item.stands_as, item.home) if all(self.rack.free[c] >= slices for c, slices in booked) else None

    def lift(self, item: Item) -> None:
        """Take an item's place away."""
        self._done.append((item, item.option, item.cards))
        self._unset(item)

    def mark(self) -> int:
        """Where `undo` can return to."""
        return len(self._done)

    def touched(self, mark: int) -> list[Item]:
        """Every item put or lifted since, once."""
        return list({id(item): item for item, _, _ in self._done[mark:]}.values())

    def undo(self, mark: int) -> None:
        """Back to how it was at the mark."""
        while len(self._done) > mark:
            item, option, cards = self._done.pop()
            if item.cards:
                self._unset(item)
            if option is not None:
                self._set(item, option, cards)

    def stand(self, item: Item, option: Option | None, cards: tuple[int, ...]) -> None:
        """Note where an item stands already; its slices are counted as taken by the snapshot."""
        item.option, item.cards, item.home, item.stands_as = option, cards, cards, option
        for card in cards:
            self.on_card.setdefault(card, []).append(item)
        if cards:
            self._count(item, 1)

    def slices(self, item: Item, card: int) -> int:
        """Slices an item takes of one of its cards."""
        if item.option is item.stands_as:
            return self._booked(item)[item.cards.index(card)]
        return item.option.slices if item.option else 0

    def _booked(self, item: Item) -> list[int]:
        claims = item.replica.claim_mib if item.replica else ()
        return [self.rack.cards[card].slices_for(mib) for card, mib in zip(item.home, claims, strict=True)]

    def _set(self, item: Item, option: Option, cards: tuple[int, ...]) -> None:
        item.option, item.cards = option, cards
        for card in cards:
            self.rack.take(card, self.slices(item, card))
            self.on_card.setdefault(card, []).append(item)
        self._count(item, 1)

    def _unset(self, item: Item) -> None:
        self._count(item, -1)
        for card in item.cards:
            self.rack.take(card, -self.slices(item, card))
            self.on_card[card].remove(item)
        item.option, item.cards = None, ()

    def _count(self, item: Item, change: int) -> None:
        number = self.rack.node_of[item.cards[0]]
        node, model = self.rack.nodes[number], item.model
        model.on_nodes[number] = model.on_nodes.get(number, 0) + change
        if node.rack:
            model.on_racks[node.rack] = model.on_racks.get(node.rack, 0) + change
        if node.node_class:
            model.on_classes[node.node_class] = model.on_classes.get(node.node_class, 0) + change
