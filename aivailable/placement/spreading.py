"""Replicas of one model on one node go down together: one of them is moved to another node where that can be done."""

from aivailable.placement.choose import best
from aivailable.placement.repair import Repair
from aivailable.placement.state import Board, Item, ModelState
from aivailable.placement.worth import MOVE, SHARED_NODE

WHY = "keeps its model on two nodes"


def spread(board: Board, repair: Repair, states: list[ModelState]) -> None:
    """Spread the models whose replicas, two or more, share one node; never at the cost of another model's spread."""
    for state in states:
        if on_one_node(board, state) and all(_at_rest(item) for item in state.items if item.cards):
            for item in sorted(state.items, key=lambda i: (not i.loose, -i.number)):
                if item.cards and not item.fixed and _moved_apart(board, repair, item):
                    break


def _at_rest(item: Item) -> bool:
    """Whether an item is new, or serves. As long as one of a model is on its way, all of it is left alone."""
    return item.waiting is None and (item.replica is None or item.serves)


def on_one_node(board: Board, state: ModelState) -> bool:
    """Whether a model has two replicas or more with a place, all on one node."""
    counts = [count for count in state.on_nodes.values() if count]
    return len(counts) == 1 and counts[0] > 1 and len(board.rack.nodes) > 1


def _moved_apart(board: Board, repair: Repair, item: Item) -> bool:
    node = board.rack.node_of[item.cards[0]]
    keeps = item.stands_as.order if item.stands_as is not None else None
    mark = board.mark()
    board.lift(item)
    choice = best(board.rack, item.model, last=keeps)
    if choice is not None and board.rack.node_of[choice[1][0]] != node:
        board.put(item, *choice)
    elif not repair.by_moves(item, elsewhere=True):
        board.undo(mark)
        return False
    touched = board.touched(mark)
    moves = sum(other.moved for other in touched)
    # What was put elsewhere may have crowded another model: then nothing is won.
    if moves * MOVE > SHARED_NODE or any(on_one_node(board, other.model) for other in touched):
        board.undo(mark)
        return False
    for other in touched:
        other.why = other.why or (WHY if other is item else f"makes room for {item.model.spec.name}, which is spread")
    return True
