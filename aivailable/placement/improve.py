"""A second look at what a plan starts: take some of it away, put it back in another order, keep what serves more.

Only replicas that do not run yet, or move anyway, are taken away: planning again after the plan was carried out finds
nothing to improve. Random choices are seeded; how often it tries depends on the size of the rack, never on a clock.
"""

import random
from collections.abc import Iterable

from aivailable.placement.choose import Choice, best
from aivailable.placement.state import Board, Item, ModelState
from aivailable.placement.worth import model_loss, model_worth, rank_worth

TRIES = 1000
"""Attempts on a small rack."""

CARDS_TIMES_TRIES = 60_000
"""Fewer attempts on larger racks, none on a data centre: there what does not fit is a small part of the whole."""

TRIES_PER_ITEM = 60
"""Attempts for each replica that can be given another place."""

HOMELESS = 16
"""Replicas without a place that are tried in one attempt."""

THRIFTY = 0.3
"""How often the smallest variants are tried first, which leaves room for more replicas."""

POOL = 64
"""Replicas without a place that are considered at once."""

SEED = 1


class Improve:
    """Improves the places of one plan. Models' `lost` items are those that are looked for a place."""

    def __init__(self, board: Board, states: Iterable[ModelState]) -> None:
        self._board, self._rack = board, board.rack
        self._states = list(states)
        self._worth = rank_worth(self._states)
        self._random = random.Random(SEED)  # noqa: S311 - decides which placements are tried, nothing secret

    def run(self) -> None:
        """Try, as long as something could become better."""
        loose_items = sum(item.loose for state in self._states for item in state.items if item.cards)
        tries = min(TRIES, CARDS_TIMES_TRIES // max(1, len(self._rack.cards)), TRIES_PER_ITEM * loose_items)
        homeless = [item for state in self._states for item in state.lost if state.options.least_mib][:POOL]
        for _ in range(tries):
            if not homeless and not any(model_loss(state) for state in self._states):
                return
            loose = self._loose_cards()
            if not loose:
                return
            homeless = self._attempt(loose, homeless)

    def _loose_cards(self) -> list[int]:
        """Cards with something on them that can be taken away."""
        return sorted(card for card, items in self._board.on_card.items() if any(item.loose for item in items))

    def _attempt(self, loose: list[int], homeless: list[Item]) -> list[Item]:
        """Clear a few cards, fill them again; gives what has no place afterwards."""
        board, random_ = self._board, self._random
        count = min(len(loose), random_.choice((1, 1, 2, 2, 3, 4, len(loose))))
        chosen = random_.sample(loose, count)
        lifted = list(dict.fromkeys(i for card in chosen for i in board.on_card[card] if i.loose))
        pool = [*lifted, *random_.sample(homeless, min(HOMELESS, len(homeless)))]
        touched = list({id(item.model): item.model for item in pool}.values())
        before = self._score(touched)
        mark = board.mark()
        for item in lifted:
            board.lift(item)
        noise, thrifty = random_.choice((0.0, 0.3, 1.0)), random_.random() < THRIFTY
        left: list[Item] = []
        for item in sorted(pool, key=lambda i: self._order(i, noise)):
            choice = board.back_home(item) or (thrifty and self._smallest(item)) or best(self._rack, item.model)
            if choice is None:
                left.append(item)
            else:
                board.put(item, *choice)
                if item not in item.model.items:
                    item.model.items.append(item)
        interrupted = any(item.home and not item.cards for item in lifted)
        if not interrupted and self._score(touched) > before:
            self._book(touched, left)
            return [item for item in (*lifted, *homeless) if not item.cards]
        board.undo(mark)
        for item in homeless:
            if item.replica is None and item in item.model.items:
                item.model.items.remove(item)
        return homeless

    def _smallest(self, item: Item) -> Choice | None:
        """The best place for the variant that needs least."""
        options, kinds = item.model.options, self._rack.kinds.all
        return best(
            self._rack,
            item.model,
            allowed=lambda o: o.slices * o.cards * kinds[o.kind].slice_mib == options.least_mib,
        )

    def _order(self, item: Item, noise: float) -> tuple[bool, float, float]:
        state = item.model
        place = 1 + sum(bool(other.cards) for other in state.items)
        later, priority = state.rank(place)
        return later, priority, -state.options.least_mib * (1 + noise * self._random.random())

    def _score(self, states: list[ModelState]) -> tuple[int, int]:
        return sum(model_worth(s, self._worth) for s in states), -sum(model_loss(s) for s in states)

    def _book(self, touched: list[ModelState], left: list[Item]) -> None:
        """Bring the lists of the models in line with what has a place now."""
        for state in touched:
            state.items = [item for item in state.items if item.cards or item.replica is not None]
            state.lost = [item for item in state.lost if not item.cards]
            state.lost += [item for item in left if item.model is state and item not in state.lost]
            state.placed = sum(bool(item.cards) or (item.replica is not None and not item.home) for item in state.items)
