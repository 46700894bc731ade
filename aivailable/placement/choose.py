"""The best card, or cards, with room for one more replica of a model, as they are."""

from collections.abc import Callable

from aivailable.placement.options import Option
from aivailable.placement.rack import Rack
from aivailable.placement.state import ModelState

Choice = tuple[Option, tuple[int, ...]]
Key = tuple[int, int, int, int, int, int, bool, float, int]

LOOK = 512
"""Cards of a kind that are compared for spread; in a larger kind the tightest fits are."""


def best(
    rack: Rack, model: ModelState, *, allowed: Callable[[Option], bool] | None = None, last: int | None = None
) -> Choice | None:
    """Where one more replica goes, or None when nothing has room.

    In this order: nodes apart; the variant preferred; few cards; racks, then classes apart; the smallest hole left;
    files there already; fast memory; the first by name.

    Args:
        rack: The cards.
        model: The model, with where its replicas are.
        allowed: Keeps options away.
        last: The least preferred variant (its place in the list) that may be used.
    """
    found: Choice | None = None
    found_key: Key | None = None
    for order, group in enumerate(model.options.by_variant):
        if last is not None and order > last:
            break
        for option in group:
            if not rack.members[option.kind] or (allowed is not None and not allowed(option)):
                continue
            single = option.cards == 1
            key, cards = _single(rack, model, option) if single else _several(rack, model, option)
            if key is not None and (found_key is None or key < found_key):
                found_key, found = key, (option, cards)
        if found_key is not None and found_key[0] == 0:
            break
    return found


def _single(rack: Rack, model: ModelState, option: Option) -> tuple[Key | None, tuple[int, ...]]:
    apart, sha256 = not model.on_nodes, model.options.sha256[option.order]
    look_for_files = bool(sha256) and rack.has_files
    slice_mib = rack.kinds.all[option.kind].slice_mib
    looked, best_key, best_card = 0, None, -1
    for level, cards in rack.fitting(option.kind, option.slices):
        if apart and best_key is not None:
            break
        hole_mib = (level - option.slices) * slice_mib
        for card in cards:
            key = _key(rack, model, option, card, hole_mib)
            if best_key is None or key < best_key:
                best_key, best_card = key, card
            if apart and not look_for_files:
                return best_key, (best_card,)
            looked += 1
            if looked >= LOOK:
                return best_key, (best_card,)
        if best_key is not None and best_key[0] == best_key[3] == best_key[4] == 0:
            break
    return best_key, (best_card,)


def _several(rack: Rack, model: ModelState, option: Option) -> tuple[Key | None, tuple[int, ...]]:
    """Equal cards of one node: where the fewest others of them are left over, then with the least room left."""
    asked = (option.kind, option.slices, option.cards)
    if asked in rack.nowhere:
        return None, (-1,)
    apart, looked = not model.on_nodes, 0
    slice_mib = rack.kinds.all[option.kind].slice_mib
    best_key: Key | None = None
    best_cards: tuple[int, ...] = (-1,)
    for number in rack.nodes_of(option.kind):
        free = [(rack.free[c], c) for c in rack.in_nodes[number] if rack.kind_of[c] == option.kind]
        fitting = sorted(entry for entry in free if entry[0] >= option.slices)
        if len(fitting) < option.cards:
            continue
        chosen = fitting[: option.cards]
        room = sum(free for free, _ in chosen) - option.cards * option.slices
        left_over = (len(fitting) - option.cards) * option.slices
        cards = tuple(sorted(card for _, card in chosen))
        key = _key(rack, model, option, cards[0], (room + left_over) * slice_mib)
        if best_key is None or key < best_key:
            best_key, best_cards = key, cards
        looked += 1
        if (apart and best_key[5] == 0) or looked >= LOOK:
            break
    if best_key is None:
        rack.nowhere.add(asked)
    return best_key, best_cards


def _key(rack: Rack, model: ModelState, option: Option, card: int, hole_mib: int) -> Key:
    number = rack.node_of[card]
    node = rack.nodes[number]
    return (
        model.on_nodes.get(number, 0),
        option.order,
        option.cards,
        model.on_racks.get(node.rack, 0),
        model.on_classes.get(node.node_class, 0),
        hole_mib,
        model.options.sha256[option.order] not in node.cached,
        -(rack.cards[card].bandwidth_gb_s or 0.0),
        card,
    )
