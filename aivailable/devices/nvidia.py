"""NVIDIA cards; this version does not read them yet and says so."""

from aivailable.devices.inventory import Reading
from aivailable.errors import RetryableError


class NvidiaInventory:
    """The NVIDIA cards of this node; see `aivailable.devices.inventory.Inventory`."""

    name = "nvidia"

    def read(self) -> tuple[Reading, ...]:
        """None: what is not read is not guessed."""
        raise RetryableError("NVIDIA cards are not read by this version")
