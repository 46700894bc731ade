"""The free slices of every card while a plan is being made."""

from aivailable.model.cards import Card
from aivailable.model.replica import Replica
from aivailable.model.snapshot import Snapshot


class Ledger:
    """Working copy of the slice counts. Starts from what is free now; takes and gives back as the plan decides."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._cards = {card.uuid: card for node in snapshot.nodes for card in node.cards}
        self._free = {uuid: card.free_slices for uuid, card in self._cards.items()}

    def free_mib(self, card: Card) -> int:
        """MiB that can be claimed: free slices, less what processes outside Nomad hold of them."""
        return max(0, self._free[card.uuid] * card.slice_mib - card.foreign_mib)

    def booked_mib(self, card: Card) -> int:
        """MiB of booked slices."""
        return (card.slices - self._free[card.uuid]) * card.slice_mib

    def take(self, uuid: str, slices: int) -> None:
        """Book slices of a card."""
        self._free[uuid] -= slices

    def give_back(self, replica: Replica) -> None:
        """Count the slices of a replica that will stop as free."""
        self._book(replica, -1)

    def book(self, replica: Replica) -> None:
        """Undo `give_back`."""
        self._book(replica, 1)

    def _book(self, replica: Replica, sign: int) -> None:
        for uuid, claim_mib in zip(replica.cards, replica.claim_mib, strict=True):
            if card := self._cards.get(uuid):
                self._free[uuid] -= sign * card.slices_for(claim_mib)
