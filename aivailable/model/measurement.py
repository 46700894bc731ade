"""What an engine was seen to hold, and under which conditions that counts again."""

from dataclasses import dataclass, replace

from aivailable.model.fleet import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a measurement depends on: these files, this build of this engine, this kind of card, these flags.

    `image` stands for the engine's version. `flags` are the user's own; the planned ones follow from the rest.
    """

    sha256: str
    engine: Engine
    image: str
    card: str
    total_mib: int
    cards: int
    simulated: bool
    flags: tuple[str, ...]
    context: int
    concurrency: int

    def same_weights(self, other: "Conditions") -> bool:
        """Whether the weights take the same, whatever the context and the concurrency are."""
        return replace(self, context=0, concurrency=0) == replace(other, context=0, concurrency=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """MiB on one card, by the engine's own log; None where it did not say.

    `held_mib` is what the driver says the card holds in all, where this replica had the card to itself. `alloc` is the
    allocation that was looked at, `at_s` when (seconds since 1970).
    """

    conditions: Conditions
    alloc: str
    at_s: float
    weights_mib: int | None = None
    kv_mib: int | None = None
    activation_mib: int | None = None
    graphs_mib: int | None = None
    held_mib: int | None = None

    @property
    def total_mib(self) -> int | None:
        """What the replica holds on one card, at least; None where neither driver nor log says."""
        if self.held_mib is not None:
            return self.held_mib
        if self.weights_mib is None or self.kv_mib is None:
            return None
        return self.weights_mib + self.kv_mib + (self.activation_mib or 0) + (self.graphs_mib or 0)
