"""Nomad's allocations read down to what we ask of them: a document of 8 kB becomes an object of 1 kB. Pure."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ENGINE_TASK = "engine"
FETCH_TASK = "fetch"
VRAM_TYPE, WHOLE_TYPE = "vram", "gpu"
"""Device types of our plugin (slices) and of HashiCorp's (whole cards)."""

GONE = frozenset({"complete", "failed", "lost"})
"""Client statuses of allocations whose tasks have ended."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task of an allocation that failed."""

    alloc: str
    task: str


@dataclass(frozen=True, slots=True)
class Booking:
    """Instances of one device group that an allocation holds; `short_ids` as `short_id` makes them."""

    vendor: str
    type: str
    name: str
    short_ids: tuple[str, ...]

    def instances(self) -> Iterator[str]:
        """The ids as Nomad has them."""
        return full_ids(self.name, self.short_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One allocation, of whatever job. `bookings`: what it holds; nothing once it is gone.

    `fetching` and `running`: the task of that kind runs. `healthy`: its deployment found it healthy. `started_s`: when
    the newest of the tasks that run started, as Unix time; 0 where none runs. `words`: what its newest telling event
    says. `failed_task`: the task whose failure ended it, where one did.
    """

    id: str
    namespace: str
    job: str
    node_id: str
    node: str
    created: int
    status: str
    wanted: bool
    bookings: tuple[Booking, ...] = ()
    fetching: bool = False
    running: bool = False
    healthy: bool = False
    started_s: float = 0.0
    words: str = ""
    failed_task: FailedTask | None = None

    @property
    def gone(self) -> bool:
        """Whether the client says that its tasks have ended; what it held is free then."""
        return self.status in GONE


def allocation_of(document: Document) -> Allocation:
    """An allocation from its entry in the list, with resources and task states."""
    states = document.get("TaskStates") or {}
    gone = document["ClientStatus"] in GONE
    return Allocation(
        id=document["ID"],
        namespace=document.get("Namespace", ""),
        job=document["JobID"],
        node_id=document["NodeID"],
        node=document["NodeName"],
        created=document["CreateIndex"],
        status=document["ClientStatus"],
        wanted=document["DesiredStatus"] == "run",
        bookings=() if gone else tuple(_booking(device) for device in _devices(document)),
        fetching=_runs(states.get(FETCH_TASK)),
        running=_runs(states.get(ENGINE_TASK)),
        healthy=bool((document.get("DeploymentStatus") or {}).get("Healthy")),
        started_s=_started_s(states),
        words=_last_words(document, states),
        failed_task=_failed_task(document, states),
    )


def held_instances(allocations: Iterable[Allocation]) -> dict[str, set[str]]:
    """The device instances that allocations hold, by node id: of all jobs, until the client says that they ended."""
    held: dict[str, set[str]] = defaultdict(set)
    for allocation in allocations:
        for booking in allocation.bookings:
            held[allocation.node_id].update(booking.instances())
    return held


def newest_failure(allocations: Iterable[Allocation]) -> FailedTask | None:
    """The task whose failure ended the newest allocation of a job; None where the newest did not fail."""
    newest = max(allocations, key=lambda allocation: allocation.created, default=None)
    return newest.failed_task if newest else None


def short_id(name: str, instance: str) -> str:
    """An instance's id without its group's name, and one string for all cards: they have hundreds of thousands."""
    return sys.intern(instance[len(name) :]) if instance.startswith(f"{name}/") else instance


def full_ids(name: str, short_ids: Iterable[str]) -> Iterator[str]:
    """What `short_id` shortened."""
    return (f"{name}{short}" if short.startswith("/") else short for short in short_ids)


def unix_s(timestamp: str) -> float:
    """Go's RFC 3339 with up to nine decimals as Unix time."""
    whole, _, rest = timestamp.removesuffix("Z").partition(".")
    digits = rest[: next((i for i, c in enumerate(rest) if not c.isdigit()), len(rest))]
    zone = rest[len(digits) :]
    return datetime.fromisoformat(f"{whole}{zone or '+00:00'}").timestamp() + float(f"0.{digits or 0}")


def _devices(document: Document) -> list[Document]:
    tasks = ((document.get("AllocatedResources") or {}).get("Tasks") or {}).values()
    return [device for task in tasks for device in task.get("Devices") or ()]


def _booking(device: Document) -> Booking:
    name = device["Name"]
    return Booking(
        vendor=sys.intern(device["Vendor"]),
        type=sys.intern(device["Type"]),
        name=name,
        short_ids=tuple(short_id(name, instance) for instance in device["DeviceIDs"]),
    )


def _runs(state: Document | None) -> bool:
    return state is not None and state.get("State") == "running"


def _started_s(states: Mapping[str, Document]) -> float:
    times = [state.get("StartedAt") for state in states.values() if _runs(state)]
    return max((unix_s(time) for time in times if time), default=0.0)


def _last_words(document: Document, states: Mapping[str, Document]) -> str:
    """The newest event of its tasks that says something, for people; of one that runs none is told."""
    if document["ClientStatus"] == "running":
        return ""
    events = [
        event
        for state in states.values()
        for event in state.get("Events") or ()
        if event.get("DisplayMessage") and event["Type"] not in {"Received", "Task Setup", "Not Restarting", "Killing"}
    ]
    newest = max(events, key=lambda event: event["Time"], default=None)
    return str(newest["DisplayMessage"] if newest is not None else document.get("ClientDescription") or "")


def _failed_task(document: Document, states: Mapping[str, Document]) -> FailedTask | None:
    if document["ClientStatus"] != "failed":
        return None
    failed = [task for task, state in states.items() if state.get("Failed") and state.get("StartedAt")]
    return FailedTask(document["ID"], FETCH_TASK if FETCH_TASK in failed else failed[0]) if failed else None
