"""What became of the replicas of one model: changes to carry out, stops, and what Nomad will place by itself."""

from dataclasses import dataclass, field, replace

from aivailable.model.plan import Deferred, Placement, Stop
from aivailable.placement.options import Option
from aivailable.placement.rack import Rack
from aivailable.placement.repair import cost
from aivailable.placement.sequence import Change
from aivailable.placement.state import Held, Item, ModelState


@dataclass(slots=True, kw_only=True)
class Outcome:
    """`changes` and `stops` are to be done; `waiting` are placements of jobs that Nomad has and places when it can."""

    changes: list[Change] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    waiting: list[Placement] = field(default_factory=list)


def outcome_of(rack: Rack, state: ModelState) -> Outcome:
    """The outcome for one model once everything is decided."""
    outcome = Outcome()
    going_on = [old for old in state.outdated if old.replica is not None and not (old.home and not old.cards)]
    for item in state.items:
        if item.cards and (item.replica is None or item.moved):
            _begin(rack, item, going_on, outcome)
        elif item.replica is not None and item.home and not item.cards:
            outcome.stops.append(Stop(replica=item.replica, why=item.why))
    for old in state.outdated:
        if old.replica is not None and old.home and not old.cards:
            outcome.stops.append(Stop(replica=old.replica, why=old.why))
    return outcome


def deferred(state: ModelState) -> Deferred | None:
    """The replicas of a model that get a place when others of it serve; None: there are none."""
    left = sum(bool(old.cards) and old.instead_of is None for old in state.outdated)
    count = min(state.spec.replicas - state.placed, left)
    if state.held is not Held.TURN or count <= 0:
        return None
    first = min((item.number for item in state.lost), default=state.placed)
    why = "there is no room for old and new together: it comes when the one before it serves"
    return Deferred(model=state.spec.name, replica=first, count=count, why=why)


def label(item: Item) -> str:
    """A replica as a sentence names it."""
    return f"{item.model.spec.name} replica {item.number}"


def _predecessor(number: int, state: ModelState, going_on: list[Item]) -> Item | None:
    """The outdated replica that a new one succeeds: that of its number, else one whose number no new one has."""
    new = {item.number for item in state.items if item.replica is None}
    same = next((old for old in going_on if old.number == number), None)
    return same or next((old for old in going_on if old.number not in new), None)


def _here(rack: Rack, item: Item, option: Option) -> str:
    """Why there, in a few words: which variant where it is not the first, and how tight it is."""
    chosen = f"as {item.model.spec.variants[option.order].source}, " if option.order else ""
    free_mib = min(max(0, rack.free[card]) * rack.slice_mib(card) for card in item.cards)
    each = "" if option.cards == 1 else f" of each of {option.cards}"
    return f"{chosen}{free_mib} MiB{each} stay free"


def _begin(rack: Rack, item: Item, going_on: list[Item], outcome: Outcome) -> None:
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
        old = _predecessor(number, state, going_on)
        if old is not None:
            going_on.remove(old)
            successor, why = old.replica, f"{old.forsaken or 'its spec changed'}; {here}"
    outcome.changes.append(
        Change(
            placement=placement,
            cards=item.cards,
            why=why,
            reason=item.why,
            rank=(*state.rank(number + 1), state.position, number),
            replica=item.replica,
            successor_of=successor,
            spare=state.spare,
            cost=cost(item),
        )
    )
