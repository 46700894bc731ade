"""A version of a model whose engine does not start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One variant of one version, told by the hash of its spec (`ReplicaSpec.hash8`), that was given up.

    `reason` is one sentence, `tail` the last lines that the engine printed. `at_s` is when (Unix time), `count` how
    often by now. Where nothing else can run it is tried again from `until_s` on; `resting`: that is not yet.
    """

    model: str
    variant: str
    hash8: str
    reason: str
    engine: str = ""
    at_s: float
    until_s: float
    tail: tuple[str, ...] = ()
    count: int = 1
    resting: bool = True
