"""What is written down in a run: of each request, of each fault. Pure data, shared by those who measure and report.

All times are seconds from the start of the load.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from bench.availability.arrivals import Arrival


class Result(StrEnum):
    """How a request ended."""

    OK = "ok"
    FAILED = "failed"
    CUT = "cut"
    """A stream that ended after its first byte and before its end; why decides whether it is a failure."""


@dataclass(slots=True, kw_only=True)
class Try:
    """One try at one gateway (its address). `why` is empty when it brought the right answer."""

    gateway: str
    begun_s: float
    ended_s: float = 0.0
    status: int = 0
    why: str = ""
    bytes_seen: bool = False


@dataclass(slots=True, kw_only=True)
class Record:
    """One request. `begun_s` is its arrival, whether or not the client was ready for it: waiting counts."""

    arrival: Arrival
    id: str
    ended_s: float = 0.0
    first_byte_s: float = 0.0
    result: Result = Result.FAILED
    why: str = ""
    tries: list[Try] = field(default_factory=list)
    fault: int | None = None
    """The number of the fault that explains it, where one does."""
    envoy: list[dict[str, object]] = field(default_factory=list)
    """What the gateways' access logs say of it; looked up for what did not go well."""

    @property
    def retried(self) -> bool:
        """Whether the client asked the other gateway."""
        return len(self.tries) > 1

    @property
    def took_s(self) -> float:
        """From arrival to the end."""
        return self.ended_s - self.arrival.at_s


@dataclass(slots=True, kw_only=True)
class Done:
    """A fault that happened, taken back at `ended_s`. `gateway` and `models`: whose requests it can have touched.

    `recovered_s` is when all was as before: None where that was given up waiting for. `started_s` and `serving_s` are
    the replacements' of replicas that it took for good, by their model: seconds from the loss.
    """

    number: int
    kind: str
    target: str
    begun_s: float
    hard: bool
    silent: bool = False
    ended_s: float = 0.0
    recovered_s: float | None = None
    gateway: str = ""
    models: tuple[str, ...] = ()
    lost: dict[str, set[str]] = field(default_factory=dict)
    """Model -> allocations that it took for good."""
    started_s: dict[str, float] = field(default_factory=dict)
    serving_s: dict[str, float] = field(default_factory=dict)
    note: str = ""
