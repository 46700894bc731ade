"""The exact model: what the best placement would be, by OR-tools' CP-SAT. For racks, and to measure the planner by.

First the most VRAM served, by rank: a class of replicas outweighs all that rank below it, and what runs is not given up
for what ranks the same. Then, with that kept: the fewest moves, replicas on nodes apart, variants preferred.
"""

import importlib
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from aivailable.errors import UserError
from aivailable.model.fleet import Fleet
from aivailable.model.plan import Plan
from aivailable.model.snapshot import Snapshot
from aivailable.placement.options import Option
from aivailable.placement.planner import Planner
from aivailable.placement.rack import Rack
from aivailable.placement.run import Run
from aivailable.placement.state import Board, Item, ModelState
from aivailable.placement.worth import LESS_PREFERRED, MOVE, SHARED_NODE, TOGETHER, rank_worth, replica_worth

MOST_CHOICES = 200_000
"""Above so many places for replicas the model is not built: it would not be solved in useful time."""

WORKERS = 2
SEED = 1


@dataclass(frozen=True, slots=True)
class Place:
    """A replica could be here; `stays`: it is here already."""

    option: Option
    cards: tuple[int, ...]
    stays: bool = False


@dataclass(slots=True)
class Solution:
    """What was found: places by item (None: none), and whether it was proved that none is better."""

    places: list[tuple[Item, Place | None]]
    optimal: bool


def plan_exactly(fleet: Fleet, snapshot: Snapshot, seconds: float) -> tuple[Plan, bool]:
    """As `plan`, with the places that CP-SAT finds within twice `seconds`; and whether they are proved to be the best.

    Raises:
        UserError: The extra `exact` is not installed, or the rack is too large for it.
    """
    run = Run(Planner(), fleet, snapshot)
    run.open_all()
    solution = solve(run.board, list(run.states.values()), seconds)
    for item, place in solution.places:
        if item.home and (place is None or not place.stays):
            run.displace(item, "the exact plan has no place for it" if place is None else "the exact plan serves more")
    for item, place in solution.places:
        if place is not None and not place.stays:
            run.put(item, place.option, place.cards)
    return run.plan(), solution.optimal


def solve(board: Board, states: list[ModelState], seconds: float) -> Solution:
    """The best places for the items of all models; items of what is missing are made here.

    Args:
        board: The rack with what runs on it.
        states: All models, with their running replicas.
        seconds: Time for each of the two searches.

    Raises:
        UserError: The extra `exact` is not installed, or the rack is too large for it.
    """
    try:
        cp_model: Any = importlib.import_module("ortools.sat.python.cp_model")
    except ImportError as error:
        raise UserError("OR-tools is not installed", hint="pip install 'aivailable[exact]'") from error
    problem = _Problem(board, states, cp_model)
    return problem.solve(seconds)


class _Problem:
    """The variables: one for each item and place where it could be."""

    def __init__(self, board: Board, states: list[ModelState], cp_model: Any) -> None:
        self._board, self._rack, self._cp = board, board.rack, cp_model
        self._model = cp_model.CpModel()
        self._states = states
        self._worth = rank_worth(states)
        self._choices: list[tuple[Item, list[tuple[Place, Any]]]] = []
        self._on_card: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        self._gain: list[Any] = []
        self._loss: list[Any] = []
        for state in states:
            self._add(state)
        for card, taken in self._on_card.items():
            held = sum(board.slices(i, card) for i in board.on_card.get(card, ()) if not i.outdated)
            free = max(0, self._rack.free[card] + held)
            self._model.add(sum(slices * variable for slices, variable in taken) <= free)

    def solve(self, seconds: float) -> Solution:
        model, cp_model = self._model, self._cp
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = seconds
        solver.parameters.num_workers = WORKERS
        solver.parameters.random_seed = SEED
        model.maximize(sum(self._gain))
        status = solver.solve(model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            raise UserError(f"no plan was found within {seconds:g} s", hint="give --exact more seconds")
        optimal = status == cp_model.OPTIMAL
        model.add(sum(self._gain) >= round(solver.objective_value))
        for _, choices in self._choices:
            for _, variable in choices:
                model.add_hint(variable, solver.value(variable))
        model.minimize(sum(self._loss))
        again = cp_model.CpSolver()
        again.parameters.copy_from(solver.parameters)
        if again.solve(model) in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            solver = again
        places = [
            (item, next((place for place, variable in choices if solver.value(variable)), None))
            for item, choices in self._choices
        ]
        return Solution(places, optimal)

    def _add(self, state: ModelState) -> None:
        model, rack = self._model, self._rack
        items = [item for item in state.items if item.home]
        fresh = [Item(state, number) for number in range(max(0, state.spec.replicas - state.placed))]
        everywhere = [
            Place(option, cards)
            for group in state.options.by_variant
            for option in group
            if rack.usable(option.kind)
            for cards in _card_sets(rack, option)
        ]
        if len(self._choices) * max(1, len(everywhere)) > MOST_CHOICES:
            raise UserError("the rack is too large for the exact model", hint="plan without --exact")
        on_node: dict[int, list[Any]] = defaultdict(list)
        served_by: list[Any] = []
        for item in (*items, *fresh):
            choices = self._choices_of(item, everywhere)
            self._choices.append((item, choices))
            is_served = model.new_bool_var("")
            model.add(sum(variable for _, variable in choices) == is_served)
            served_by.append(is_served)
            for place, variable in choices:
                on_node[rack.node_of[place.cards[0]]].append(variable)
                for card in place.cards:
                    slices = self._board.slices(item, card) if place.stays else place.option.slices
                    self._on_card[card].append((slices, variable))
        for first, second in zip(served_by[len(items) :], served_by[len(items) + 1 :], strict=False):
            model.add_implication(second, first)
        self._count(state, served_by, len(items))
        self._apart(on_node, served_by)
        for variables in on_node.values():
            crowd = model.new_int_var(0, len(served_by), "")
            model.add(crowd >= sum(variables) - 1)
            self._loss.append(TOGETHER * crowd)

    def _apart(self, on_node: dict[int, list[Any]], served_by: list[Any]) -> None:
        """Count against a model that two or more replicas are served and all on one node."""
        model = self._model
        if len(served_by) < 2 or len(self._rack.nodes) < 2:
            return
        used = []
        for variables in on_node.values():
            here = model.new_bool_var("")
            model.add(sum(variables) >= 1).only_enforce_if(here)
            used.append(here)
        shared, several = model.new_bool_var(""), model.new_bool_var("")
        model.add(sum(served_by) <= 1).only_enforce_if(several.negated())
        model.add(sum(used) >= 2).only_enforce_if([several, shared.negated()])
        self._loss.append(SHARED_NODE * shared)

    def _choices_of(self, item: Item, everywhere: list[Place]) -> list[tuple[Place, Any]]:
        model = self._model
        if item.home and item.option is not None:
            stay = Place(item.option, item.home, stays=True)
            stays = model.new_bool_var("")
            others = [] if item.fixed else [p for p in everywhere if p.cards != item.home]
            moves = [(place, model.new_bool_var("")) for place in others]
            self._loss += [MOVE * variable + LESS_PREFERRED * p.option.order * variable for p, variable in moves]
            if item.fixed:
                model.add(stays == 1)
            return [(stay, stays), *moves]
        found = [(place, model.new_bool_var("")) for place in everywhere]
        self._loss += [LESS_PREFERRED * place.option.order * variable for place, variable in found]
        return found

    def _count(self, state: ModelState, served_by: list[Any], running: int) -> None:
        """What the model's replicas are worth: the first one, the others, and those that run already."""
        model = self._model
        total = len(served_by)
        for place in range(1, total + 1):
            reached = model.new_bool_var("")
            model.add(sum(served_by) >= place).only_enforce_if(reached)
            self._gain.append(replica_worth(state, self._worth, place, runs=False) * reached)
        for place in range(1, running + 1):
            reached = model.new_bool_var("")
            model.add(sum(served_by[:running]) >= place).only_enforce_if(reached)
            both = replica_worth(state, self._worth, place, runs=True) - replica_worth(
                state, self._worth, place, runs=False
            )
            self._gain.append(both * reached)


def _card_sets(rack: Rack, option: Option) -> list[tuple[int, ...]]:
    """The cards, or sets of cards of one node, that an option could use."""
    members = rack.members[option.kind]
    if option.cards == 1:
        return [(card,) for card in members]
    by_node: dict[int, list[int]] = defaultdict(list)
    for card in members:
        by_node[rack.node_of[card]].append(card)
    return [chosen for cards in by_node.values() for chosen in combinations(cards, option.cards)]
