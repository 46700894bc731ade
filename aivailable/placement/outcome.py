"""What became of the replicas of one model: changes to carry out, stops, and what Nomad will place by itself."""

from dataclasses import dataclass, field, replace

from aivailable.model.plan import Placement, Stop
from aivailable.placement.options import Option
from aivailable.placement.rack import Rack
from aivailable.placement.repair import cost
from aivailable.placement.sequence import Change
from aivailable.placement.state import Item, ModelState


@dataclass(slots=True, kw_only=True)
class Outcome:
    """`changes` and `stops` are to be done; `waiting` are placements of jobs that Nomad has and places when it can."""

    changes: list[Change] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    waiting: list[Placement] = field(default_factory=list)


def outcome_of(rack: Rack, state: ModelState) -> Outcome:
    """The outcome for one model once everything is decided."""
    outcome = Outcome()
    for item in state.items:
        if item.cards and (item.replica is None or item.moved):
            _begin(rack, item, outcome)
        elif item.replica is not None and item.home and not item.cards:
            outcome.stops.append(Stop(replica=item.replica, why=item.why))
    for old in state.outdated:
        if old.replica is not None and old.home and not old.cards:
            outcome.stops.append(Stop(replica=old.replica, why=old.why))
    return outcome


def label(item: Item) -> str:
    """A replica as a sentence names it."""
    return f"{item.model.spec.name} replica {item.number}"


def _here(rack: Rack, item: Item, option: Option) -> str:
    """Why there, in a few words: which variant where it is not the first, and how tight it is."""
    chosen = f"as {item.model.spec.variants[option.order].source}, " if option.order else ""
    free_mib = min(max(0, rack.free[card]) * rack.slice_mib(card) for card in item.cards)
    each = "" if option.cards == 1 else f" of each of {option.cards}"
    return f"{chosen}{free_mib} MiB{each} stay free"


def _begin(rack: Rack, item: Item, outcome: Outcome) -> None:
    state, option = item.model, item.option
    if option is None:
        raise AssertionError("what has cards has an option")
    here = _here(rack, item, option)
    number = item.number if item.replica is None else state.next_number()
    node = rack.nodes[rack.node_of[item.cards[0]]]
    placement = state.options.place(option, node, tuple(rack.cards[card] for card in item.cards), number)
    why, successor = f"the fleet wants {state.spec.replicas}; {here}", None
    if item.replica is not None:
        placement, why = replace(placement, replaces=item.replica.job), f"{item.why}; {here}"
    elif item.waiting is not None:
        waiting = item.waiting
        if waiting.job == placement.job_id and waiting.vendor in ("", placement.requirement.vendor):
            outcome.waiting.append(placement)
            return
        outcome.stops.append(Stop(replica=waiting, why=f"no card of its kind can take it, {placement.node} can"))
    elif item.instead_of is not None:
        why = f"replaces the one stopped on {item.instead_of.node}; {here}"
    else:
        successor = next((old.replica for old in state.outdated if old.number == number and old.cards), None)
        why = f"its spec changed; {here}" if successor else why
    outcome.changes.append(
        Change(
            placement=placement,
            cards=item.cards,
            why=why,
            rank=(*state.rank(number + 1), state.position, number),
            replica=item.replica,
            successor_of=successor,
            spare=state.placed > state.spec.min_available,
            cost=cost(item),
        )
    )
