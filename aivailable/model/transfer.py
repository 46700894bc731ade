"""How far the reading of a file is, wherever it comes from."""

from collections.abc import Callable
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """How far a file is brought, or read through for its checksum."""

    name: str
    done_bytes: int
    size_bytes: int | None
    bytes_per_s: float

    def __str__(self) -> str:
        """`m.gguf: 12.0 of 94.0 MiB (13 %), 25.0 MiB/s, 3 s left`."""
        rate = f"{self.bytes_per_s / MIB:.1f} MiB/s"
        if not self.size_bytes:
            return f"{self.name}: {self.done_bytes / MIB:.1f} MiB, {rate}"
        percent = 100 * self.done_bytes // self.size_bytes
        left_s = (self.size_bytes - self.done_bytes) / self.bytes_per_s if self.bytes_per_s else 0
        sizes = f"{self.done_bytes / MIB:.1f} of {self.size_bytes / MIB:.1f} MiB"
        return f"{self.name}: {sizes} ({percent} %), {rate}, {left_s:.0f} s left"


Tell = Callable[[Transfer], None]
"""Who is told how far it is."""


def tell_nobody(transfer: Transfer) -> None:
    """For callers that show nothing."""
    del transfer
