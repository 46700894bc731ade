"""AMD cards; this version does not read them yet and says so."""

from aivailable.devices.inventory import Reading
from aivailable.errors import RetryableError


class AmdInventory:
    """The AMD cards of this node; see `aivailable.devices.inventory.Inventory`."""

    name = "amd"

    def read(self) -> tuple[Reading, ...]:
        """None: what is not read is not guessed."""
        raise RetryableError("AMD cards are not read by this version")
