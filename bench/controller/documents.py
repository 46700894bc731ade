"""Nomad's and Consul's documents of a world, in the form and size of Nomad 2.0 and Consul 1.8."""

from collections.abc import Iterable, Iterator
from typing import Any

from aivailable.model.cards import Card, Node
from aivailable.model.replica import Replica
from aivailable.model.service import Instance

Document = dict[str, Any]

TIME_NS = 1_795_781_869_209_365_361
STARTED = "2026-11-27T12:17:49.516527591Z"
SIGNALS = "SIGWINCH,SIGXFSZ,SIGABRT,SIGCONT,SIGINT,SIGIO,SIGSEGV,SIGSTOP,SIGTERM,SIGXCPU,SIGNULL,SIGBUS,SIGILL,SIGQUIT"
PLUGINS = ("firewall", "bridge", "vrf", "sbr", "static", "ptp", "vlan", "tuning", "host-local", "ipvlan", "loopback")
DRIVERS = {"raw_exec": True, "exec": True, "docker": True, "java": False, "qemu": False}
NO_WORDS = (
    *("DownloadError", "DriverError", "DriverMessage", "FailedSibling", "GenericSource", "KillError", "KillReason"),
    *("Message", "RestartReason", "SetupError", "TaskSignal", "TaskSignalReason", "ValidationError", "VaultError"),
)
EVENTS = ("Received", "Task Setup", "Building Task Directory", "Downloading Artifacts", "Started")


def allocation(replica: Replica, node: Node, index: int, *, whole: bool) -> Document:
    """An allocation as the list has it; `whole`: with resources and task states."""
    stub = {
        "ClientDescription": "Tasks are running",
        "ClientStatus": "running",
        "CreateIndex": index,
        "CreateTime": TIME_NS,
        "DeploymentStatus": {"Canary": False, "Healthy": True, "ModifyIndex": index, "Timestamp": STARTED},
        "DesiredDescription": "",
        "DesiredStatus": "run",
        "DesiredTransition": dict.fromkeys(
            ("ForceReschedule", "Migrate", "MigrateDisablePlacement", "NoShutdownDelay", "Reschedule")
        ),
        "EvalID": replica.alloc[::-1],
        "FollowupEvalID": "",
        "ID": replica.alloc,
        "JobID": replica.job,
        "JobType": "service",
        "JobVersion": 0,
        "ModifyIndex": index,
        "ModifyTime": TIME_NS,
        "Name": f"{replica.job}.engine[0]",
        "Namespace": "default",
        "NextAllocation": "",
        "NodeID": node.id,
        "NodeName": node.name,
        "PreemptedAllocations": None,
        "PreemptedByAllocation": "",
        "RescheduleTracker": None,
        "TaskGroup": "engine",
        "TaskStates": None,
    }
    if not whole:
        return stub
    tasks = {name: _task(()) for name in ("fetch", "mesh")} | {"engine": _task(_devices(replica, node))}
    shared = {"DiskMB": 300, "Networks": [_network("http")], "Ports": [{"HostIP": "10.1.2.3", "Label": "http"}]}
    states = {"fetch": _state("dead"), "mesh": _state("running"), "engine": _state("running")}
    return {
        **stub,
        "AllocatedResources": {"Shared": shared, "TaskLifecycles": {}, "Tasks": tasks},
        "TaskStates": states,
    }


def node_stub(node: Node, index: int) -> Document:
    """A node as the list has it."""
    return {
        "Address": "10.213.2.4",
        "CreateIndex": index,
        "Datacenter": "dc1",
        "Drain": False,
        "Drivers": {name: _driver(name, healthy=healthy) for name, healthy in DRIVERS.items()},
        "HostVolumes": {},
        "ID": node.id,
        "LastDrain": None,
        "ModifyIndex": index,
        "Name": node.name,
        "NodeClass": "",
        "NodePool": "default",
        "SchedulingEligibility": "eligible",
        "Status": "ready",
        "StatusDescription": "",
        "Version": "2.0.5",
    }


def whole_node(node: Node, index: int) -> Document:
    """A node's own document."""
    attributes = {f"plugins.cni.version.{name}": "1.0.0" for name in PLUGINS}
    attributes |= {f"unique.attribute.{number}": f"some value {number} of this node" for number in range(40)}
    resources = {
        "Cpu": {"CpuShares": 48900, "TotalCpuCores": 32, "ReservableCpuCores": list(range(32))},
        "Devices": [_device(card) for card in node.cards],
        "Disk": {"DiskMB": 258019},
        "Memory": {"MemoryMB": 128000},
        "Networks": [{"Mode": "bridge"}, {"CIDR": "10.213.2.4/32", "Device": "eth0", "IP": "10.213.2.4"}],
    }
    events = [{"Message": "Node registered", "Subsystem": "Cluster", "Timestamp": STARTED, "Details": None}] * 3
    meta = {"rack": node.rack, "aivailable_consul": "http://10.213.2.4:8500", "connect.log_level": "info"}
    own = {
        "Attributes": {**attributes, "os.signals": SIGNALS},
        "Meta": meta,
        "NodeResources": resources,
        "Events": events,
    }
    return {**node_stub(node, index), **own, "ComputedClass": "v1:476206165255910743", "Links": {"consul": "dc1.node"}}


def job(replica: Replica, index: int) -> Document:
    """A job as the list has it."""
    counts = dict.fromkeys(("Complete", "Failed", "Lost", "Queued", "Starting", "Unknown"), 0)
    summary = {"JobID": replica.job, "Namespace": "default", "Summary": {"engine": {**counts, "Running": 1}}}
    meta = {"model": replica.model, "variant": replica.variant, "engine": replica.engine, "vendor": replica.vendor}
    sizes = {"claim_mib": str(replica.claim_mib[0]), "context": "2048", "concurrency": "4", "simulated": "false"}
    return {
        "CreateIndex": index,
        "Datacenters": ["*"],
        "ID": replica.job,
        "JobModifyIndex": index,
        "JobSummary": {**summary, "Children": {"Dead": 0, "Pending": 0, "Running": 0}, "CreateIndex": index},
        "Meta": {**meta, **sizes, "replica": str(replica.replica)},
        "ModifyIndex": index,
        "Multiregion": None,
        "Name": replica.job,
        "Namespace": "default",
        "NodePool": "default",
        "ParameterizedJob": False,
        "ParentID": "",
        "Periodic": False,
        "Priority": 50,
        "Status": "running",
        "StatusDescription": "",
        "Stop": False,
        "SubmitTime": TIME_NS,
        "Type": "service",
    }


def health(instance: Instance, index: int) -> Document:
    """An entry of Consul's health endpoint."""
    addresses = {kind: {"Address": instance.address, "Port": instance.port} for kind in ("lan_ipv4", "wan_ipv4")}
    return {
        "Node": {
            "ID": instance.meta["alloc"],
            "Node": instance.node,
            "Address": instance.address,
            "Datacenter": "dc1",
            "TaggedAddresses": dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), instance.address),
            "Meta": {"consul-network-segment": ""},
            "CreateIndex": index,
            "ModifyIndex": index,
        },
        "Service": {
            "ID": instance.id,
            "Service": instance.service,
            "Tags": list(instance.tags),
            "Address": instance.address,
            "TaggedAddresses": addresses,
            "Meta": {**instance.meta, "external-source": "nomad"},
            "Port": instance.port,
            "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": False,
            "Proxy": {"MeshGateway": {}, "Expose": {}},
            "Connect": {"Native": True},
            "CreateIndex": index,
            "ModifyIndex": index,
        },
        "Checks": [_check(instance, name, index) for name in ("Serf Health Status", "ready", "mesh")],
    }


def _check(instance: Instance, name: str, index: int) -> Document:
    return {
        "Node": instance.node,
        "CheckID": f"_nomad-check-{instance.meta['alloc']}",
        "Name": name,
        "Status": "passing",
        "Notes": "",
        "Output": "Agent alive and reachable",
        "ServiceID": instance.id,
        "ServiceName": instance.service,
        "ServiceTags": list(instance.tags),
        "Type": "http",
        "Definition": {},
        "CreateIndex": index,
        "ModifyIndex": index,
    }


def _devices(replica: Replica, node: Node) -> Iterator[Document]:
    slice_mib = {card.uuid: card.slice_mib for card in node.cards}
    for uuid, mib in zip(replica.cards, replica.claim_mib, strict=True):
        ids = [f"{uuid}/{number:03d}" for number in range(mib // slice_mib[uuid])]
        yield {"DeviceIDs": ids, "Name": uuid, "Type": "vram", "Vendor": "nvidia"}


def _task(devices: Iterable[Document]) -> Document:
    return {
        "Cpu": {"CpuShares": 100, "ReservedCores": None},
        "Devices": list(devices) or None,
        "Memory": {"MemoryMB": 64, "MemoryMaxMB": 0},
        "Networks": None,
    }


def _network(label: str) -> Document:
    return {"DynamicPorts": [{"HostNetwork": "default", "Label": label, "Value": 29533}], "IP": "10.213.2.3"}


def _state(state: str) -> Document:
    events = [
        {
            **dict.fromkeys(NO_WORDS, ""),
            **dict.fromkeys(("DiskLimit", "ExitCode", "KillTimeout", "Signal", "StartDelay"), 0),
            "Details": {},
            "DisplayMessage": f"{event} by client",
            "FailsTask": False,
            "Time": TIME_NS,
            "Type": event,
        }
        for event in EVENTS
    ]
    return {
        "Events": events,
        "Failed": False,
        "FinishedAt": STARTED if state == "dead" else None,
        "LastRestart": None,
        "Paused": "",
        "Restarts": 0,
        "StartedAt": STARTED,
        "State": state,
    }


def _driver(name: str, *, healthy: bool) -> Document:
    return {
        "Attributes": {f"driver.{name}": "true"},
        "Detected": healthy,
        "HealthDescription": "Healthy" if healthy else "Failed to connect to its daemon",
        "Healthy": healthy,
        "UpdateTime": STARTED,
    }


def _device(card: Card) -> Document:
    values: dict[str, tuple[str, object]] = {
        "memory": ("Int", card.total_mib),
        "model": ("String", card.name),
        "compute_capability": ("Float", card.compute_capability),
        "slice_mib": ("Int", card.slice_mib),
        "index": ("Int", card.index),
        "bandwidth": ("Float", card.bandwidth_gb_s),
        "uuid": ("String", card.uuid),
        "driver_version": ("String", card.driver_version),
        "simulated": ("Bool", False),
        "health_epoch": ("Int", 0),
    }
    empty: dict[str, object] = dict.fromkeys(("Bool", "Float", "Int", "String"))
    instances = [
        {"HealthDescription": "", "Healthy": True, "ID": f"{card.uuid}/{number:03d}", "Locality": None}
        for number in range(card.slices)
    ]
    return {
        "Attributes": {name: {**empty, kind: value, "Unit": ""} for name, (kind, value) in values.items()},
        "Instances": instances,
        "Name": card.uuid,
        "Type": "vram",
        "Vendor": "nvidia",
    }
