"""Nomad's documents read as our own: nodes with cards, allocations as replicas, events. Pure."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from aivailable.clients.nomad_allocations import (
    VRAM_TYPE,
    WHOLE_TYPE,
    Allocation,
    Document,
    full_ids,
    short_id,
    unix_s,
)
from aivailable.errors import UserError
from aivailable.model.cards import SLICE_MIB, Card, Node, Vendor
from aivailable.model.events import ClusterEvent
from aivailable.model.replica import Replica, ReplicaState
from aivailable.vram.cardtable import find_card

REPLICA_PREFIX = "llm-"

_NS = 1e9
_RACK = "rack"

CNI_BRIDGE = "plugins.cni.version.bridge"
"""The attribute of a node that has the CNI plugins."""
CONSUL_NAME = "unique.consul.name"
"""The attribute with the name of the node's Consul agent; gone when that agent is."""


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node as if nothing were booked, and for each of its cards the device group and the instances, shortened.

    `down`: Nomad has given it up.
    """

    node: Node
    down: bool
    groups: tuple[str, ...]
    short_ids: tuple[tuple[str, ...], ...]

    def with_held(self, held: Set[str], before: Node | None = None) -> Node:
        """The node with what is left while these instances are held; `before` and its cards where they are the same."""
        known = {card.uuid: card for card in before.cards} if before else {}
        cards = []
        for card, group, ids in zip(self.node.cards, self.groups, self.short_ids, strict=True):
            free = sum(instance not in held for instance in full_ids(group, ids)) if held else len(ids)
            now = card if free == card.free_slices else replace(card, free_slices=free)
            cards.append(now if now != known.get(card.uuid) else known[card.uuid])
        made = replace(self.node, cards=tuple(cards))
        return before if before == made else made


def node_of(stub: Document, detail: Document, held: Iterable[str]) -> Node:
    """A node from its entry in the list, its own document (meta is only there), and the instances that are held."""
    return known_node({**detail, **stub}).with_held(set(held))


def known_node(document: Document) -> KnownNode:
    """A node from its own document."""
    devices = [
        device
        for device in (document.get("NodeResources") or {}).get("Devices") or ()
        if device["Vendor"] in list(Vendor)
    ]
    kinds = {device["Type"] for device in devices}
    meta = document.get("Meta") or {}
    attributes = document.get("Attributes") or {}
    plugins = [name for name, kind in (("aivailable", VRAM_TYPE), ("hashicorp", WHOLE_TYPE)) if kind in kinds]
    found = [entry for device in devices for entry in _cards(device)]
    found.sort(key=lambda entry: (entry[0].vendor, entry[0].index, entry[0].uuid))
    node = Node(
        id=document["ID"],
        name=document["Name"],
        node_class=document.get("NodeClass", ""),
        rack=meta.get(_RACK, ""),
        ready=document["Status"] == "ready",
        eligible=document["SchedulingEligibility"] == "eligible" and not document.get("Drain"),
        vendor_plugin="+".join(plugins),
        drivers=tuple(sorted(name for name, driver in (document.get("Drivers") or {}).items() if driver["Healthy"])),
        meta=dict(meta),
        bridge=not attributes or CNI_BRIDGE in attributes,
        consul_name="" if (known := attributes.get(CONSUL_NAME, "")) == document["Name"] else known,
        cards=tuple(card for card, _, _ in found),
    )
    return KnownNode(
        node=node,
        down=document["Status"] == "down",
        groups=tuple(group for _, group, _ in found),
        short_ids=tuple(ids for _, _, ids in found),
    )


def _cards(device: Document) -> list[tuple[Card, str, tuple[str, ...]]]:
    """The cards of a device group with nothing booked, its name, and the shortened ids of their instances."""
    name = device["Name"]
    attributes = {key: _value(value) for key, value in (device.get("Attributes") or {}).items()}
    instances = device.get("Instances") or ()
    if device["Type"] == VRAM_TYPE:
        ids = tuple(short_id(name, instance["ID"]) for instance in instances)
        return [(_sliced(device, attributes, instances), name, ids)]
    if device["Type"] == WHOLE_TYPE:
        return [
            (_whole(device, attributes, instance, index), name, (short_id(name, instance["ID"]),))
            for index, instance in enumerate(instances)
        ]
    return []


def _sliced(device: Document, attributes: Document, instances: Sequence[Document]) -> Card:
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
        free_slices=len(instances),
        foreign_mib=int(attributes.get("foreign_mib", 0)),
    )


def _whole(device: Document, attributes: Document, instance: Document, index: int) -> Card:
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
        free_slices=1,
    )


def _known(name: str) -> Card | None:
    try:
        return find_card(name)
    except UserError:
        return None


def _value(attribute: Document) -> Any:
    """The one value that an attribute has."""
    return next((attribute[kind] for kind in ("Int", "Float", "String", "Bool") if attribute[kind] is not None), None)


def replica_of(
    job: str,
    meta: Document,
    allocations: Iterable[Allocation],
    nodes: Mapping[str, Node],
    *,
    stopped: bool,
    index: int = 0,
) -> Replica:
    """A replica from its job's meta and the job's allocations.

    Args:
        job: The job's id.
        meta: The job's meta.
        allocations: All allocations of the job that Nomad still knows.
        nodes: Nodes by id.
        stopped: The job is stopped or purged.
        index: Its modify index. What failed before it was registered last does not count.
    """
    mine = sorted(allocations, key=lambda allocation: allocation.created)
    living = [allocation for allocation in mine if not allocation.gone]
    newest = (living or mine)[-1] if mine else None
    common: dict[str, Any] = {
        "model": str(meta.get("model", "")),
        "variant": str(meta.get("variant", "")),
        "replica": int(meta.get("replica", "0")),
        "job": job,
        "engine": str(meta.get("engine", "")),
        "vendor": str(meta.get("vendor", "")),
        "failures": sum(allocation.status == "failed" and allocation.created > index for allocation in mine),
        "index": index,
        "replaces": str(meta.get("replaces", "")),
    }
    if newest is None or (newest.gone and stopped):
        state = ReplicaState.STOPPING if stopped else ReplicaState.PENDING
        return Replica(**common, state=state)
    if newest.gone:
        lost = newest.status == "lost"
        state = ReplicaState.LOST if lost else ReplicaState.PENDING
        note = f"lost with {newest.node}" if lost else f"failed on {newest.node}: {newest.words}"
        return Replica(**common, state=state, note=note)
    node = nodes.get(newest.node_id)
    cards = {card.uuid: card for card in node.cards} if node else {}
    uuids, claims = [], []
    for booking in newest.bookings:
        uuid = booking.short_ids[0] if booking.type == WHOLE_TYPE else booking.name
        slice_mib = cards[uuid].slice_mib if uuid in cards else SLICE_MIB
        uuids.append(uuid)
        claims.append(len(booking.short_ids) * slice_mib)
    vendors = {booking.vendor for booking in newest.bookings}
    return Replica(
        **{**common, "vendor": vendors.pop() if len(vendors) == 1 else common["vendor"]},
        state=_state(newest, stopped=stopped, node=node),
        alloc=newest.id,
        node=newest.node,
        cards=tuple(uuids),
        claim_mib=tuple(claims),
        note=newest.words if newest.status == "pending" else "",
    )


def _state(allocation: Allocation, *, stopped: bool, node: Node | None) -> ReplicaState:
    if node is not None and not node.ready:
        return ReplicaState.LOST
    if stopped or not allocation.wanted:
        return ReplicaState.STOPPING
    if allocation.status == "unknown":
        return ReplicaState.LOST
    if allocation.fetching:
        return ReplicaState.FETCHING
    if allocation.running:
        return ReplicaState.SERVING if allocation.healthy else ReplicaState.LOADING
    return ReplicaState.PENDING


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
        ClusterEvent(at_s=unix_s(event["Timestamp"]), node=detail["Name"], text=event["Message"])
        for event in detail.get("Events") or ()
    ]
