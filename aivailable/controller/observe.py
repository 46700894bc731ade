"""One snapshot from what the cluster and the registry each know."""

from collections import defaultdict
from dataclasses import replace

from aivailable.controller.measuring import merge_measured, read_measurements
from aivailable.controller.verdicts import read_failures
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import CACHE_PREFIX, ENGINE_SERVICE, LEAVING_PREFIX, Instance
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Cluster, Registry

_RUNNING = (ReplicaState.LOADING, ReplicaState.SERVING)


def observe(cluster: Cluster, registry: Registry) -> Snapshot:
    """What is, now: the cluster's nodes and replicas with the registry's word on health, files and sizes."""
    snapshot = merge_health(cluster.snapshot(), registry.instances(ENGINE_SERVICE))
    snapshot = merge_leaving(merge_cached(snapshot, registry.keys(CACHE_PREFIX)), registry.keys(LEAVING_PREFIX))
    snapshot = merge_measured(snapshot, read_measurements(registry))
    failed = read_failures(registry)
    return replace(snapshot, failed=failed) if failed else snapshot


def merge_leaving(snapshot: Snapshot, keys: tuple[str, ...]) -> Snapshot:
    """The nodes with whether their work is to move off, from keys `<prefix><node>`."""
    leaving = {key.removeprefix(LEAVING_PREFIX) for key in keys}
    if not leaving:
        return snapshot
    nodes = (replace(n, leaving=True) if n.name in leaving else n for n in snapshot.nodes)
    return replace(snapshot, nodes=tuple(nodes))


def merge_cached(snapshot: Snapshot, keys: tuple[str, ...]) -> Snapshot:
    """The nodes with the model files that they have, from keys `<prefix><node>/<sha256>`."""
    cached: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        node, _, sha256 = key.removeprefix(CACHE_PREFIX).rpartition("/")
        cached[node].append(sha256)
    return replace(snapshot, nodes=tuple(replace(n, cached=tuple(cached.get(n.name, ()))) for n in snapshot.nodes))


def merge_health(snapshot: Snapshot, instances: tuple[Instance, ...]) -> Snapshot:
    """The scheduler knows that a task runs and once was healthy; the registry knows whether it is healthy now."""
    by_alloc = {instance.meta.get("alloc", ""): instance for instance in instances}
    return replace(snapshot, replicas=tuple(_merge(replica, by_alloc) for replica in snapshot.replicas))


def _merge(replica: Replica, by_alloc: dict[str, Instance]) -> Replica:
    if replica.state not in _RUNNING:
        return replica
    instance = by_alloc.get(replica.alloc)
    if instance is None:
        state = ReplicaState.UNHEALTHY if replica.state is ReplicaState.SERVING else replica.state
        return replace(replica, state=state)
    address = f"{instance.address}:{instance.port}"
    if instance.passing:
        return replace(replica, state=ReplicaState.SERVING, address=address, note="")
    was_serving = replica.state is ReplicaState.SERVING
    return replace(replica, state=ReplicaState.UNHEALTHY if was_serving else replica.state, address=address)
