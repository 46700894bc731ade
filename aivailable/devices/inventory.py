"""The seam to whatever knows the cards of this node."""

from typing import Protocol

from aivailable.model.cards import Card


class Inventory(Protocol):
    """A source of cards: NVML, AMD SMI, or a file."""

    def cards(self) -> tuple[Card, ...]:
        """The cards of this node as their driver reports them now."""
