"""The cards while a plan is being made: how many slices of each are free in the end, found by kind and by size."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence

from aivailable.model.cards import Card, Node
from aivailable.model.plan import CardUse
from aivailable.model.snapshot import Snapshot
from aivailable.placement.kinds import Kinds


class Rack:
    """Free slices per card. Cards are numbered by their nodes' names, so that the order of a snapshot does not matter.

    `free` may be negative: processes outside Nomad can hold more than is left. `free_mib` is all that is free.
    `in_nodes` has the cards of each node, `touched` the cards that something was booked on or given back, `nowhere` the
    kinds, slices and numbers of cards for which no node has room. `has_files` tells whether any node has model files,
    `troubled` are the nodes whose replicas are to be replaced.
    """

    def __init__(self, snapshot: Snapshot, kinds: Kinds, known: dict[int, "KnownNode"]) -> None:
        self.kinds = kinds
        self.nodes: list[Node] = sorted(snapshot.nodes, key=_name)
        self.cards: list[Card] = []
        self.node_of: list[int] = []
        self.kind_of: list[int] = []
        self.free: list[int] = []
        self.in_nodes: list[range] = []
        self.touched: set[int] = set()
        self.nowhere: set[tuple[int, int, int]] = set()
        self._nodes_of: dict[int, tuple[int, ...]] = {}
        self.known: list[KnownNode] = []
        self.free_mib = 0
        twice: set[str] = set()
        self._add_nodes(kinds, known, twice)
        if len(self.by_uuid) < len(self.cards):
            counts = Counter(card.uuid for card in self.cards)
            self._add_nodes(kinds, known, {uuid for uuid, count in counts.items() if count > 1})
        self.troubled = {number for number, node in enumerate(self.nodes) if node.leaving or node.silent}
        self.has_files = any(node.cached for node in self.nodes)
        self.members: list[list[int]] = [[] for _ in kinds.all]
        self._by_free: list[dict[int, list[int]]] = [{} for _ in kinds.all]
        self._mask = [0] * len(kinds.all)
        for index, (kind, free) in enumerate(zip(self.kind_of, self.free, strict=True)):
            self.members[kind].append(index)
            level = free if free > 0 else 0
            cards = self._by_free[kind].get(level)
            if cards is None:
                self._by_free[kind][level] = [index]
                self._mask[kind] |= 1 << level
            else:
                cards.append(index)

    def _add_nodes(self, kinds: Kinds, known: dict[int, "KnownNode"], twice: set[str]) -> None:
        """Number the cards; `twice` are the uuids that two cards report."""
        for numbered in (self.cards, self.kind_of, self.free, self.node_of, self.in_nodes, self.known):
            numbered.clear()
        self.free_mib = 0
        for number, node in enumerate(self.nodes):
            facts = known.get(id(node))
            if facts is None or facts.node is not node or facts.twice or twice:
                facts = known[id(node)] = KnownNode(node, kinds, twice)
            self.known.append(facts)
            begin = len(self.cards)
            self.cards += node.cards
            self.kind_of += facts.kinds
            self.free += facts.free
            self.free_mib += facts.free_mib
            self.node_of += [number] * len(node.cards)
            self.in_nodes.append(range(begin, len(self.cards)))
        self.by_uuid = {card.uuid: index for index, card in enumerate(self.cards)}

    def node_named(self, name: str) -> Node | None:
        """The node of that name, or None."""
        number = bisect_left(self.nodes, name, key=_name)
        return self.nodes[number] if number < len(self.nodes) and self.nodes[number].name == name else None

    def slice_mib(self, card: int) -> int:
        """MiB of one slice of a card."""
        return self.cards[card].slice_mib

    def nodes_of(self, kind: int) -> Sequence[int]:
        """The nodes that have cards of a kind."""
        nodes = self._nodes_of.get(kind)
        if nodes is None:
            nodes = self._nodes_of[kind] = tuple(dict.fromkeys(self.node_of[card] for card in self.members[kind]))
        return nodes

    def take(self, card: int, slices: int) -> None:
        """Book slices; with a negative number, give them back."""
        if slices < 0:
            self.nowhere.clear()
        self.touched.add(card)
        before = self.free[card]
        self.free[card] = after = before - slices
        old, new = max(before, 0), max(after, 0)
        if old == new:
            return
        self.free_mib += (new - old) * self.cards[card].slice_mib
        kind = self.kind_of[card]
        levels = self._by_free[kind]
        cards = levels[old]
        del cards[bisect_left(cards, card)]
        if not cards:
            self._mask[kind] &= ~(1 << old)
        cards = levels.setdefault(new, [])
        if not cards:
            self._mask[kind] |= 1 << new
        insort(cards, card)

    def fitting(self, kind: int, slices: int) -> Iterator[tuple[int, list[int]]]:
        """Free slices and the cards that have exactly so many, the tightest fit for `slices` first."""
        mask = self._mask[kind] >> slices << slices
        while mask:
            level = (mask & -mask).bit_length() - 1
            yield level, self._by_free[kind][level]
            mask &= mask - 1

    def freest(self, kind: int, below: int) -> Iterator[int]:
        """The cards of a kind with less than `below` free slices, those with most first."""
        mask = self._mask[kind] & ((1 << max(below, 0)) - 1)
        while mask:
            level = mask.bit_length() - 1
            yield from self._by_free[kind][level]
            mask ^= 1 << level

    def usable(self, kind: int) -> bool:
        """Whether there are such cards, and no rule of theirs keeps every model away."""
        return bool(self.members[kind]) and self.kinds.all[kind].rule is None


class KnownNode:
    """What a node's cards are: worked out once for every node object. `uses` are they when a plan changes nothing."""

    __slots__ = ("free", "free_mib", "kinds", "node", "twice", "uses")

    def __init__(self, node: Node, kinds: Kinds, twice: set[str]) -> None:
        self.node = node
        self.twice = bool(twice)
        self.kinds = [kinds.number(node, card, twice=card.uuid in twice) for card in node.cards]
        self.free = [free_slices(card) for card in node.cards]
        self.free_mib = sum(max(free, 0) * card.slice_mib for free, card in zip(self.free, node.cards, strict=True))
        self.uses = tuple(card_use(node, card, 0) for card in node.cards)


def card_use(node: Node, card: Card, taken: int) -> CardUse:
    """One card before and after the plan; `taken` slices more are booked then."""
    booked = card.slices - card.free_slices
    return CardUse(
        node=node.name,
        uuid=card.uuid,
        name=card.name,
        total_mib=card.total_mib,
        before_mib=booked * card.slice_mib,
        after_mib=(booked + taken) * card.slice_mib,
    )


def free_slices(card: Card) -> int:
    """Slices that can be claimed: the free ones, less what processes outside Nomad hold of them."""
    free = min(card.free_slices, card.slices)
    return (free * card.slice_mib - card.foreign_mib) // max(1, card.slice_mib) if card.foreign_mib > 0 else free


def _name(node: Node) -> str:
    return node.name
