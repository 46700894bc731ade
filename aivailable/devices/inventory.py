"""The seam to whatever knows the cards of this node, and what it says of each card."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from aivailable.model.cards import Card


@dataclass(frozen=True, slots=True, kw_only=True)
class CardProcess:
    """A process that holds memory of a card. `used_mib` is None where the driver does not say how much."""

    pid: int
    used_mib: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One card as its driver reports it now.

    `card.total_mib` is the driver's total minus what the driver reserves, `card.used_mib` what is in use of that,
    `card.healthy` its health and `why` the reason where it is not. `device_nodes` and `mounts` are host paths that a
    container needs besides the environment. Measurements are None where the card does not give them.
    """

    card: Card
    why: str = ""
    processes: tuple[CardProcess, ...] = ()
    device_nodes: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    utilization_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


def unhealthy(reading: Reading, why: str) -> Reading:
    """The reading as that of an unhealthy card."""
    return replace(reading, card=replace(reading.card, healthy=False), why=why)


def with_vanished(found: Iterable[Reading], seen: Mapping[str, Reading]) -> dict[str, Reading]:
    """What was found, by uuid, and of the cards seen before those that are missing now, as unhealthy ones."""
    now = {reading.card.uuid: reading for reading in found}
    gone = {uuid: unhealthy(reading, "the card has gone") for uuid, reading in seen.items() if uuid not in now}
    return {**now, **gone}


class Inventory(Protocol):
    """A source of cards: NVML, AMD SMI, or a file. Opening the driver's library is left to the first reading."""

    @property
    def name(self) -> str:
        """`nvidia`, `amd` or `simulated`."""

    def read(self) -> tuple[Reading, ...]:
        """The cards of this node as their driver reports them now; none where there is no such card.

        A card that was read before and does not answer now is unhealthy, not absent: it keeps its last numbers.

        Raises:
            RetryableError: The driver or its library is absent or does not answer; the message says which.
        """
