"""A plan is followed to its end: what an earlier plan decided and could not begin yet is decided the same way again.

A plan is carried out step by step, and after each step another plan is made. Made from nothing each time, plans could
undo one another for ever: one moves a replica to make room, the next fills that room with another and moves it back.
"""

from collections.abc import Iterable, Mapping

from aivailable.model.plan import Intention
from aivailable.model.replica import Replica, ReplicaState
from aivailable.placement.options import Option
from aivailable.placement.rack import Rack
from aivailable.placement.sequence import Change
from aivailable.placement.state import Board, Item, ModelState


def intentions(changes: Iterable[Change], states: Mapping[str, ModelState]) -> tuple[Intention, ...]:
    """What a plan is about to do, for the plans after it."""
    return tuple(
        Intention(
            spec=states[change.placement.spec.model].spec,
            source=change.placement.spec.variant.source,
            cards=change.placement.cards,
            job=change.placement.job_id,
            moves=change.replica.job if change.replica else "",
            why=change.reason,
        )
        for change in changes
    )


def still_open(intended: Iterable[Intention], replicas: Iterable[Replica]) -> tuple[Intention, ...]:
    """Those whose job was not registered yet."""
    known = {replica.job for replica in replicas if replica.state is not ReplicaState.STOPPING}
    return tuple(intention for intention in intended if intention.job not in known)


def follow(board: Board, intended: Iterable[Intention], states: Mapping[str, ModelState]) -> bool:
    """Put every replica where it was to be; False, with a board of no use any more, where that cannot be done."""
    movers: list[tuple[Intention, ModelState, Item | None]] = []
    for intention in intended:
        state = states.get(intention.spec.name)
        if state is None or state.spec != intention.spec or state.waiting:
            return False
        mover = next((i for i in state.items if i.replica and i.replica.job == intention.moves), None)
        if mover is not None:
            if mover.fixed or not mover.home or not mover.cards:
                return False
            board.lift(mover)
            mover.why = intention.why
        movers.append((intention, state, mover))
    return all(_put(board, intention, state, mover) for intention, state, mover in movers)


def _put(board: Board, intention: Intention, state: ModelState, mover: Item | None) -> bool:
    rack = board.rack
    cards = tuple(rack.by_uuid[uuid] for uuid in intention.cards if uuid in rack.by_uuid)
    option = _option(rack, intention, state, cards)
    if option is None or any(rack.free[card] < option.slices for card in cards):
        return False
    if mover is None:
        if state.placed + len(state.lost) >= state.spec.replicas:
            return False
        mover = Item(state, state.next_number())
        state.items.append(mover)
        state.placed += 1
    board.put(mover, option, cards)
    return True


def _option(rack: Rack, intention: Intention, state: ModelState, cards: tuple[int, ...]) -> Option | None:
    if not cards or len(cards) < len(intention.cards):
        return None
    kind = rack.kind_of[cards[0]]
    fitting = (
        option
        for group in state.options.by_variant
        for option in group
        if option.kind == kind
        and option.cards == len(cards)
        and state.spec.variants[option.order].source == intention.source
    )
    return next(fitting, None) if rack.usable(kind) else None
