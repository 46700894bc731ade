"""Room for a replica where there is none: others move over, or those that matter less give way.

Chains of moves: a replica is lifted off a card, the one that needs room takes its place, and the lifted one looks for a
place of its own, for which others may have to move in turn. Everything that does not work out is undone.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from aivailable.placement.choose import Choice, best
from aivailable.placement.options import Option
from aivailable.placement.state import Board, Item, ModelState

CHAIN_DEPTH = 3
"""Longest chain: so many replicas, one after the other, each make room for the one before."""

TOGETHER = 3
"""Replicas that are lifted off one card together at most."""

CARDS_TRIED = 24
"""Cards tried for one replica, those that lack least first; half as many with each link of a chain."""

GROUPS_TRIED = 12
"""Groups of replicas tried on one card, the cheapest first."""

STEPS_PER_REPLICA = 1_500
"""Attempts at making room for one replica."""

LOAD_S_PER_GIB = 1.0
"""Seconds to load one GiB where it was never measured: a SATA disk's 500 MB/s and the engine's own start."""

LEAST_REQUESTS_PER_S = 0.01
"""So that of two idle replicas the one that loads faster is the cheaper one."""


class Repair:
    """Looks for room, within a number of `steps` for the whole plan: the answer depends on no clock."""

    def __init__(self, board: Board, steps: int, occupants: Callable[[int], list[Item]]) -> None:
        self._board = board
        self._rack = board.rack
        self._occupants = occupants
        self._loose_only = False
        self._left = 0
        self.steps = steps

    def by_moves(self, item: Item, *, elsewhere: bool = False) -> bool:
        """Place an item by moving others; nobody loses its place. First only such move as do not run where they are.

        Args:
            item: It has no place.
            elsewhere: Only on nodes that have no replica of its model.
        """
        for loose_only in (True, False):
            self._loose_only = loose_only
            self._left = min(STEPS_PER_REPLICA, self.steps)
            if self._left and self._chain(item, CHAIN_DEPTH, CARDS_TRIED, frozenset(), item, elsewhere=elsewhere):
                return True
        return False

    def by_eviction(self, item: Item) -> list[Item]:
        """Place an item where replicas that matter less stand: the fewest, then the cheapest; gives those.

        They have no place afterwards. An empty list: nothing that matters less is in the way. Of equally many those go
        that matter least: they cannot evict others in turn.
        """
        model = item.model
        rank = model.rank(model.placed + 1)
        found: tuple[tuple[object, ...], Choice, tuple[Item, ...]] | None = None
        for option, card, short in self._targets(item):
            cards, missing = self._cards_for(option, card, short)
            victims = self._fewest(cards, missing, rank)
            if victims is None:
                continue
            matters = min(_rank_now(victim, {}) for victim in victims)
            key = (len(victims), not matters[0], -matters[1], sum(map(cost, victims)), option.order, card)
            if found is None or key < found[0]:
                found = key, (option, cards), victims
        if found is None:
            return []
        _, (option, cards), victims = found
        for victim in victims:
            self._board.lift(victim)
        self._board.put(item, option, cards)
        return list(victims)

    def _chain(
        self, item: Item, depth: int, tried: int, locked: frozenset[int], first: Item, *, elsewhere: bool = False
    ) -> bool:
        board, rack = self._board, self._rack
        targets = sorted(
            self._targets(item), key=lambda t: (item.model.on_nodes.get(rack.node_of[t[1]], 0), t[2], t[0].order)
        )
        locked = locked | {id(item)}
        for option, card, short in targets[:tried]:
            if elsewhere and item.model.on_nodes.get(rack.node_of[card], 0):
                continue
            cards, missing = self._cards_for(option, card, short)
            for group in self._groups(cards, missing, locked):
                if self._left <= 0:
                    return False
                self._left -= 1
                self.steps -= 1
                mark = board.mark()
                for other in group:
                    board.lift(other)
                board.put(item, option, cards)
                if all(self._settle(other, depth - 1, tried // 2, locked, first) for other in group):
                    return True
                board.undo(mark)
        return False

    def _settle(self, item: Item, depth: int, tried: int, locked: frozenset[int], first: Item) -> bool:
        """Find a lifted item another place, directly or by moving others."""
        choice = best(self._rack, item.model, last=_worst_variant(item, first))
        if choice is not None:
            self._board.put(item, *choice)
            return True
        return depth > 0 and self._chain(item, depth, tried, locked, first)

    def _targets(self, item: Item) -> Iterator[tuple[Option, int, int]]:
        """Every option on every card that is large enough: the option, the card, the slices it is short."""
        rack = self._rack
        for group in item.model.options.by_variant:
            for option in group:
                if rack.usable(option.kind):
                    for number, card in enumerate(rack.freest(option.kind, rack.kinds.all[option.kind].slices + 1)):
                        if number == CARDS_TRIED:
                            break
                        yield option, card, max(0, option.slices - rack.free[card])

    def _cards_for(self, option: Option, card: int, short: int) -> tuple[tuple[int, ...], dict[int, int]]:
        """The cards to use beside `card` (its node's freest of the kind) and what each one is short."""
        if option.cards == 1:
            return (card,), {card: short}
        rack = self._rack
        mates = [c for c in rack.in_nodes[rack.node_of[card]] if rack.kind_of[c] == option.kind and c != card]
        chosen = (card, *sorted(mates, key=lambda c: (-rack.free[c], c))[: option.cards - 1])
        if len(chosen) < option.cards:
            return (), {}
        return tuple(sorted(chosen)), {c: max(0, option.slices - rack.free[c]) for c in chosen}

    def _groups(
        self, cards: tuple[int, ...], missing: dict[int, int], locked: frozenset[int]
    ) -> list[tuple[Item, ...]]:
        """The smallest sets of items whose leaving gives room on every card, the cheapest first."""
        if not cards:
            return []
        per_card = [
            self._covers(card, short, lambda item: self._may_move(item) and id(item) not in locked)
            for card, short in missing.items()
            if short
        ]
        if not per_card:
            return []
        if len(per_card) == 1:
            return per_card[0]
        if not all(per_card):
            return []
        return [tuple(dict.fromkeys(item for groups in per_card for item in groups[0]))]

    def _may_move(self, item: Item) -> bool:
        return item.loose if self._loose_only else not item.fixed

    def _covers(self, card: int, short: int, may: Callable[[Item], bool]) -> list[tuple[Item, ...]]:
        board = self._board
        sized = sorted(
            ((cost(item), board.slices(item, card), item.number, item) for item in self._occupants(card) if may(item)),
            key=lambda entry: entry[:3],
        )
        groups: list[tuple[float, int, tuple[Item, ...]]] = []
        for together in range(1, TOGETHER + 1):
            for chosen in combinations(sized, together):
                freed = sum(entry[1] for entry in chosen)
                if freed >= short and freed - min(entry[1] for entry in chosen) < short:
                    groups.append((sum(entry[0] for entry in chosen), freed, tuple(entry[3] for entry in chosen)))
            if len(groups) >= GROUPS_TRIED:
                break
        groups.sort(key=lambda group: group[:2])
        return [tuple(sorted(g[2], key=lambda i: -board.slices(i, card))) for g in groups[:GROUPS_TRIED]]

    def _fewest(
        self, cards: tuple[int, ...], missing: dict[int, int], rank: tuple[bool, int]
    ) -> tuple[Item, ...] | None:
        """The fewest and cheapest running items of a worse rank that give room on all cards; None: there are none."""
        if not cards:
            return None
        chosen: dict[int, Item] = {}
        for card, short in missing.items():
            left = short - sum(self._board.slices(item, card) for item in chosen.values() if card in item.cards)
            if left <= 0:
                continue
            weaker = [i for i in self._occupants(card) if id(i) not in chosen and _rank_now(i, chosen) > rank]
            enough = [i for i in weaker if self._board.slices(i, card) >= left]
            if enough:
                item = min(enough, key=lambda i: (*_least_first(i, chosen), cost(i), i.number))
                chosen[id(item)] = item
                continue
            for item in sorted(weaker, key=lambda i: (-self._board.slices(i, card), cost(i), i.number)):
                if left > 0 and _rank_now(item, chosen) > rank:
                    chosen[id(item)] = item
                    left -= self._board.slices(item, card)
            if left > 0:
                return None
        return tuple(chosen.values())


def cost(item: Item) -> float:
    """What it costs to stop or move a replica: load seconds x requests/s; nothing when it does not run yet."""
    replica = item.replica
    if replica is None or not item.home or item.moved:
        return 0.0
    load_s = replica.load_s if replica.load_s is not None else LOAD_S_PER_GIB * sum(replica.claim_mib) / 1024
    return load_s * max(replica.requests_per_s or 0.0, LEAST_REQUESTS_PER_S)


def covering(board: Board, items: Iterable[Item], card: int, short: int) -> tuple[Item, ...]:
    """The fewest of the items, those that matter least first, whose stopping frees `short` slices of a card."""
    items = sorted(items, key=lambda i: (not i.model.rank(i.model.placed)[0], i.model.spec.priority, cost(i)))
    for together in range(1, TOGETHER + 1):
        for chosen in combinations(items, together):
            if sum(board.slices(item, card) for item in chosen) >= short:
                return chosen
    return ()


def _rank_now(item: Item, chosen: dict[int, Item]) -> tuple[bool, int]:
    """The rank of the replica if it goes: the last one of its model that has a place, or serves, is its first."""
    model: ModelState = item.model
    gone = [other for other in chosen.values() if other.model is model]
    if item.serves and model.spare <= sum(other.serves for other in gone):
        return model.rank(1)
    return model.rank(model.placed - len(gone))


def _least_first(item: Item, chosen: dict[int, Item]) -> tuple[bool, int]:
    later, negative_priority = _rank_now(item, chosen)
    return not later, -negative_priority


def _worst_variant(item: Item, first: Item) -> int | None:
    """A running replica keeps its variant, or gets a better one, unless it makes room for one that matters as much."""
    if item.stands_as is None or first.model.rank(first.model.placed + 1) <= item.model.rank(item.model.placed):
        return None
    return item.stands_as.order
