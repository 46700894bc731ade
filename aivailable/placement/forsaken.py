"""Replicas that run and are to be replaced nevertheless: each serves until its successor does.

Nomad leaves such replicas where they are: it does not react to a card's health, nor to one that has vanished.
"""

from aivailable.model.replica import Replica
from aivailable.placement.options import Options
from aivailable.placement.rack import Rack

HOLDS_MORE = "it holds more than it booked"


def why_forsaken(replica: Replica, rack: Rack, options: Options) -> str:
    """Why a replica that holds cards is to be replaced; empty when it is to stay."""
    if replica.forsaken or not replica.cards:
        return replica.forsaken
    node = rack.node_named(replica.node)
    if node is None or not node.ready:
        return ""  # what becomes of a lost node's replicas is Nomad's to say first
    if node.leaving:
        return f"{node.name} is to be emptied"
    if node.silent:
        return f"Consul does not hear from {node.name} any more"
    cards = [rack.by_uuid.get(uuid) for uuid in replica.cards]
    if None in cards:
        return f"its card on {node.name} has vanished"
    found = [rack.cards[card] for card in cards if card is not None]
    if not all(card.healthy for card in found):
        return f"its card on {node.name} is unhealthy"
    # Nomad, which knows nothing of `where`, may have placed it there; or the user wants it elsewhere now.
    if wish := next(filter(None, (options.misplaced(rack.kind_of[card]) for card in cards if card is not None)), ""):
        return f"{wish}, and it runs on another"
    return HOLDS_MORE if options.overdrawn(replica, found[0]) else ""
