"""What is broken when: a seeded list of faults for each of three lanes. Pure.

Faults of one lane never overlap: the next one waits until the last is recovered from, because two replicas and two
gateways promise to survive one loss, not two. Faults of different lanes do overlap, as they please.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

QUIET_BEFORE_S = 5.0
QUIET_AFTER_S = 10.0
"""No fault begins in the last seconds: what it does would not be seen."""


class Lane(StrEnum):
    """What a fault takes away: replicas of models, a gateway, or who looks after them."""

    CAPACITY = "capacity"
    GATEWAY = "gateway"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    `hard`: it may cut streams, which nobody can retry; what is not hard must cut none. `silent`: it ends nothing, but
    no answer comes while it lasts, so what it does shows later. `holds_s` is the shortest and longest time it lasts.
    """

    name: str
    lane: Lane
    hard: bool = True
    silent: bool = False
    holds_s: tuple[float, float] = (0.0, 0.0)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("engine-kill", Lane.CAPACITY),
        Kind("engine-freeze", Lane.CAPACITY, silent=True, holds_s=(3.0, 15.0)),
        Kind("sidecar-kill", Lane.CAPACITY),
        Kind("node-power", Lane.CAPACITY, holds_s=(8.0, 15.0)),
        Kind("node-freeze", Lane.CAPACITY, silent=True, holds_s=(3.0, 20.0)),
        Kind("node-link", Lane.CAPACITY, silent=True, holds_s=(5.0, 20.0)),
        Kind("node-drain", Lane.CAPACITY, hard=False, holds_s=(2.0, 5.0)),
        Kind("update", Lane.CAPACITY, hard=False),
        Kind("gateway-envoy-kill", Lane.GATEWAY),
        Kind("gateway-envoy-freeze", Lane.GATEWAY, silent=True, holds_s=(2.0, 14.0)),
        Kind("gateway-feeder-kill", Lane.GATEWAY),
        Kind("gateway-feeder-freeze", Lane.GATEWAY, hard=False, holds_s=(3.0, 14.0)),
        Kind("controller-kill", Lane.CONTROL, hard=False),
        Kind("controller-freeze", Lane.CONTROL, hard=False, holds_s=(3.0, 14.0)),
        Kind("nomad-client-kill", Lane.CAPACITY, hard=False, holds_s=(1.0, 8.0)),
        Kind("consul-agent-kill", Lane.CAPACITY, hard=False, holds_s=(1.0, 8.0)),
    )
}

PAUSE_S = {Lane.CAPACITY: (2.0, 8.0), Lane.GATEWAY: (3.0, 12.0), Lane.CONTROL: (5.0, 15.0)}
"""Shortest and longest time from one fault to the next of its lane, if the one before is recovered from by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault to come: not before `at_s`, for `hold_s` seconds; `draw` (0 to 1) chooses among what can be hit."""

    kind: Kind
    at_s: float
    hold_s: float
    draw: float


def schedule(offered: Collection[str], *, seconds: float, seed: int) -> dict[Lane, tuple[Fault, ...]]:
    """The faults of a run, by lane, of the kinds that a back end offers.

    Kinds come in shuffled rounds, so that each comes as often as the others, and in another order in every run.
    """
    found = {}
    for lane in Lane:
        kinds = [kind for kind in KINDS.values() if kind.lane is lane and kind.name in offered]
        found[lane] = tuple(_lane(kinds, PAUSE_S[lane], seconds=seconds, rng=random.Random(f"{seed} {lane}")))
    return found


def _lane(kinds: list[Kind], pause_s: tuple[float, float], *, seconds: float, rng: random.Random) -> list[Fault]:
    faults: list[Fault] = []
    at_s = QUIET_BEFORE_S + rng.uniform(0, pause_s[1] - pause_s[0])
    left: list[Kind] = []
    while kinds and at_s < seconds - QUIET_AFTER_S:
        if not left:
            left = rng.sample(kinds, len(kinds))
        kind = left.pop()
        faults.append(Fault(kind=kind, at_s=at_s, hold_s=rng.uniform(*kind.holds_s), draw=rng.random()))
        at_s += faults[-1].hold_s + rng.uniform(*pause_s)
    return faults
