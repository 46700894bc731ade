"""Nomad's documents read as our own: nodes with cards, allocations as replicas, events. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aivailable.errors import UserError
from aivailable.model.cards import SLICE_MIB, Card, Node, Vendor
from aivailable.model.events import ClusterEvent
from aivailable.model.replica import Replica, ReplicaState
from aivailable.vram.cardtable import find_card

REPLICA_PREFIX = "llm-"
ENGINE_TASK = "engine"
FETCH_TASK = "fetch"
VRAM_TYPE, WHOLE_TYPE = "vram", "gpu"
"""Device types of our plugin (slices) and of HashiCorp's (whole cards)."""

_GONE = frozenset({"complete", "failed", "lost"})
_NS = 1e9
_RACK = "rack"

Document = Mapping[str, Any]

CNI_BRIDGE = "plugins.cni.version.bridge"
"""The attribute of a node that has the CNI plugins."""
CONSUL_NAME = "unique.consul.name"
"""The attribute with the name of the node's Consul agent; gone when that agent is."""


def node_of(stub: Document, detail: Document, held: Iterable[str]) -> Node:
    """A node from its entry in the list, its own document (meta is only there), and the instances that are held."""
    devices = (stub.get("NodeResources") or {}).get("Devices") or ()
    kinds = {device["Type"] for device in devices if device["Vendor"] in list(Vendor)}
    taken = set(held)
    meta = detail.get("Meta") or {}
    attributes = detail.get("Attributes") or {}
    plugins = [name for name, kind in (("aivailable", VRAM_TYPE), ("hashicorp", WHOLE_TYPE)) if kind in kinds]
    cards = [card for device in devices if device["Vendor"] in list(Vendor) for card in _cards(device, taken)]
    return Node(
        id=stub["ID"],
        name=stub["Name"],
        node_class=stub.get("NodeClass", ""),
        rack=meta.get(_RACK, ""),
        ready=stub["Status"] == "ready",
        eligible=stub["SchedulingEligibility"] == "eligible" and not stub.get("Drain"),
        vendor_plugin="+".join(plugins),
        drivers=tuple(sorted(name for name, driver in (stub.get("Drivers") or {}).items() if driver["Healthy"])),
        meta=dict(meta),
        bridge=not attributes or CNI_BRIDGE in attributes,
        consul_name="" if (known := attributes.get(CONSUL_NAME, "")) == stub["Name"] else known,
        cards=tuple(sorted(cards, key=lambda card: (card.vendor, card.index, card.uuid))),
    )


def _cards(device: Document, taken: set[str]) -> list[Card]:
    attributes = {name: _value(value) for name, value in (device.get("Attributes") or {}).items()}
    instances = device.get("Instances") or ()
    if device["Type"] == VRAM_TYPE:
        return [_sliced(device, attributes, instances, taken)]
    if device["Type"] == WHOLE_TYPE:
        return [_whole(device, attributes, instance, index, taken) for index, instance in enumerate(instances)]
    return []


def _sliced(device: Document, attributes: Document, instances: Iterable[Document], taken: set[str]) -> Card:
    """One card as our plugin publishes it."""
    capability = attributes.get("compute_capability")
    return Card(
        uuid=device["Name"],
        index=int(attributes.get("index", 0)),
        vendor=Vendor(device["Vendor"]),
        name=str(attributes.get("model", "")),
        total_mib=int(attributes.get("memory", 0)),
        compute_capability=None if capability is None else float(capability),
        gfx=attributes.get("gfx"),
        bandwidth_gb_s=attributes.get("bandwidth"),
        driver_version=str(attributes.get("driver_version", "")),
        pci=str(attributes.get("pci", "")),
        simulated=bool(attributes.get("simulated", False)),
        healthy=all(instance["Healthy"] for instance in instances),
        slice_mib=int(attributes.get("slice_mib", SLICE_MIB)),
        free_slices=sum(instance["ID"] not in taken for instance in instances),
        foreign_mib=int(attributes.get("foreign_mib", 0)),
    )


def _whole(device: Document, attributes: Document, instance: Document, index: int, taken: set[str]) -> Card:
    """One card as HashiCorp's plugin publishes it: a whole one, its single slice as large as itself.

    That plugin does not tell the compute capability; the card table knows it by name.
    """
    known = _known(device["Name"])
    total = int(attributes.get("memory", 0)) or (known.total_mib if known else 0)
    return Card(
        uuid=instance["ID"],
        index=index,
        vendor=Vendor(device["Vendor"]),
        name=device["Name"],
        total_mib=total,
        compute_capability=known.compute_capability if known else None,
        gfx=known.gfx if known else None,
        driver_version=str(attributes.get("driver_version", "")),
        healthy=instance["Healthy"],
        slice_mib=max(1, total),
        device_type=WHOLE_TYPE,
        free_slices=0 if instance["ID"] in taken else 1,
    )


def _known(name: str) -> Card | None:
    try:
        return find_card(name)
    except UserError:
        return None


def _value(attribute: Document) -> Any:
    """The one value that an attribute has."""
    return next((attribute[kind] for kind in ("Int", "Float", "String", "Bool") if attribute[kind] is not None), None)


def held_instances(allocations: Iterable[Document]) -> dict[str, set[str]]:
    """The device instances that allocations hold, by node id: of all jobs, until the client says that they ended."""
    held: dict[str, set[str]] = defaultdict(set)
    for allocation in allocations:
        if allocation["ClientStatus"] not in _GONE:
            for device in _devices(allocation):
                held[allocation["NodeID"]].update(device["DeviceIDs"])
    return held


def _devices(allocation: Document) -> list[Document]:
    tasks = ((allocation.get("AllocatedResources") or {}).get("Tasks") or {}).values()
    return [device for task in tasks for device in task.get("Devices") or ()]


def replica_of(
    job: str, meta: Document, allocations: Iterable[Document], nodes: Mapping[str, Node], *, stopped: bool
) -> Replica:
    """A replica from its job's meta and the job's allocations.

    Args:
        job: The job's id.
        meta: The job's meta.
        allocations: All allocations of the job that Nomad still knows.
        nodes: Nodes by id.
        stopped: The job is stopped or purged.
    """
    mine = sorted(allocations, key=lambda allocation: allocation["CreateIndex"])
    living = [allocation for allocation in mine if allocation["ClientStatus"] not in _GONE]
    newest = (living or mine)[-1] if mine else None
    failures = sum(allocation["ClientStatus"] == "failed" for allocation in mine)
    common: dict[str, Any] = {
        "model": str(meta.get("model", "")),
        "variant": str(meta.get("variant", "")),
        "replica": int(meta.get("replica", "0")),
        "job": job,
        "engine": str(meta.get("engine", "")),
        "vendor": str(meta.get("vendor", "")),
        "failures": failures,
        "replaces": str(meta.get("replaces", "")),
    }
    if newest is None or (newest["ClientStatus"] in _GONE and stopped):
        state = ReplicaState.STOPPING if stopped else ReplicaState.PENDING
        return Replica(**common, state=state)
    if newest["ClientStatus"] in _GONE:
        lost = newest["ClientStatus"] == "lost"
        state = ReplicaState.LOST if lost else ReplicaState.PENDING
        note = f"lost with {newest['NodeName']}" if lost else f"failed on {newest['NodeName']}: {_last_words(newest)}"
        return Replica(**common, state=state, note=note)
    node = nodes.get(newest["NodeID"])
    cards = {card.uuid: card for card in node.cards} if node else {}
    uuids, claims = [], []
    for device in _devices(newest):
        whole = device["Type"] == WHOLE_TYPE
        uuid = device["DeviceIDs"][0] if whole else device["Name"]
        slice_mib = cards[uuid].slice_mib if uuid in cards else SLICE_MIB
        uuids.append(uuid)
        claims.append(len(device["DeviceIDs"]) * slice_mib)
    vendors = {device["Vendor"] for device in _devices(newest)}
    return Replica(
        **{**common, "vendor": vendors.pop() if len(vendors) == 1 else common["vendor"]},
        state=_state(newest, stopped=stopped, node=node),
        alloc=newest["ID"],
        node=newest["NodeName"],
        cards=tuple(uuids),
        claim_mib=tuple(claims),
        note=_last_words(newest) if newest["ClientStatus"] == "pending" else "",
    )


def _state(allocation: Document, *, stopped: bool, node: Node | None) -> ReplicaState:
    if node is not None and not node.ready:
        return ReplicaState.LOST
    if stopped or allocation["DesiredStatus"] != "run":
        return ReplicaState.STOPPING
    states = allocation.get("TaskStates") or {}
    if allocation["ClientStatus"] == "unknown":
        return ReplicaState.LOST
    if states.get(FETCH_TASK, {}).get("State") == "running":
        return ReplicaState.FETCHING
    if states.get(ENGINE_TASK, {}).get("State") == "running":
        healthy = (allocation.get("DeploymentStatus") or {}).get("Healthy")
        return ReplicaState.SERVING if healthy else ReplicaState.LOADING
    return ReplicaState.PENDING


def _last_words(allocation: Document) -> str:
    """The newest event of its tasks that says something, for people."""
    events = [
        event
        for state in (allocation.get("TaskStates") or {}).values()
        for event in state.get("Events") or ()
        if event.get("DisplayMessage") and event["Type"] not in {"Received", "Task Setup", "Not Restarting", "Killing"}
    ]
    newest = max(events, key=lambda event: event["Time"], default=None)
    if newest is not None:
        return str(newest["DisplayMessage"])
    return str(allocation.get("ClientDescription") or "")


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task of an allocation that failed."""

    alloc: str
    task: str


def newest_failure(allocations: Iterable[Document]) -> FailedTask | None:
    """The task whose failure ended the newest allocation of a job; None where the newest did not fail."""
    newest = max(allocations, key=lambda allocation: allocation["CreateIndex"], default=None)
    if newest is None or newest["ClientStatus"] != "failed":
        return None
    states = newest.get("TaskStates") or {}
    failed = [task for task, state in states.items() if state.get("Failed") and state.get("StartedAt")]
    return FailedTask(newest["ID"], FETCH_TASK if FETCH_TASK in failed else failed[0]) if failed else None


def started_s(allocation: Document) -> float:
    """When the task that works on a replica started, as Unix time; 0 where none did."""
    states = allocation.get("TaskStates") or {}
    times = [state.get("StartedAt") for state in states.values() if state.get("State") == "running"]
    return max((_unix_s(time) for time in times if time), default=0.0)


def used_mib(stats: Document) -> dict[str, int]:
    """What is in use of each card, in MiB, from a client's statistics as our plugin publishes them."""
    return {
        uuid: entry["Summary"]["IntNumeratorVal"]
        for group in stats.get("DeviceStats") or ()
        if group["Type"] == WHOLE_TYPE
        for uuid, entry in (group.get("InstanceStats") or {}).items()
        if (entry.get("Summary") or {}).get("Unit") == "MiB"
    }


def allocation_events(allocations: Iterable[Document]) -> list[ClusterEvent]:
    """What happened to the tasks of allocations, unordered."""
    return [
        ClusterEvent(
            at_s=event["Time"] / _NS,
            node=allocation["NodeName"],
            job=allocation["JobID"],
            text=f"{task}: {event['DisplayMessage'] or event['Type']}",
        )
        for allocation in allocations
        for task, state in (allocation.get("TaskStates") or {}).items()
        for event in state.get("Events") or ()
    ]


def node_events(detail: Document) -> list[ClusterEvent]:
    """What happened to a node, unordered."""
    return [
        ClusterEvent(at_s=_unix_s(event["Timestamp"]), node=detail["Name"], text=event["Message"])
        for event in detail.get("Events") or ()
    ]


def _unix_s(timestamp: str) -> float:
    """Go's RFC 3339 with up to nine decimals as Unix time."""
    whole, _, rest = timestamp.removesuffix("Z").partition(".")
    digits = rest[: next((i for i, c in enumerate(rest) if not c.isdigit()), len(rest))]
    zone = rest[len(digits) :]
    return datetime.fromisoformat(f"{whole}{zone or '+00:00'}").timestamp() + float(f"0.{digits or 0}")
