"""One snapshot from what the cluster and the registry each know."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from aivailable.controller.measuring import Measurements, measured_by_allocation, with_measured
from aivailable.controller.verdicts import read_failures
from aivailable.model.measurement import Measurement
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import CACHE_PREFIX, ENGINE_SERVICE, LEAVING_PREFIX, Instance
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Cluster, Registry

_RUNNING = (ReplicaState.LOADING, ReplicaState.SERVING)


class Observer:
    """Looks at one cluster and its registry again and again.

    The rule: what is made of equal things is not made again. Where all that is read is equal to what was read before,
    the snapshot is the one given before; else a replica is made anew when the cluster's word on it, its instance or
    its measured size is another, and nodes that came out equal are still the same objects: the planner keeps what it
    worked out by object.
    """

    def __init__(self, cluster: Cluster, registry: Registry) -> None:
        self._cluster = cluster
        self._registry = registry
        self._measurements = Measurements(registry)
        self._read: tuple[object, ...] = ()
        self._merged: dict[str, tuple[Replica, Instance | None, int | None, Replica]] = {}
        self._snapshot = Snapshot()

    def look(self) -> Snapshot:
        """What is, now: the cluster's nodes and replicas with what the registry knows of them.

        Raises:
            AivailableError: A store could not be read.
        """
        cluster = self._cluster.snapshot()
        instances = self._registry.instances(ENGINE_SERVICE)
        cached, leaving = self._registry.keys(CACHE_PREFIX), self._registry.keys(LEAVING_PREFIX)
        measured, failed = self._measurements.read(), read_failures(self._registry)
        silent = self._registry.lost_nodes()
        read = (cluster, instances, cached, leaving, silent, measured, failed)
        if read != self._read:
            known = {node.id: node for node in self._snapshot.nodes}
            nodes = merge_silent(merge_leaving(merge_cached(cluster, cached), leaving), silent).nodes
            self._snapshot = Snapshot(
                nodes=tuple(same if (same := known.get(node.id)) == node else node for node in nodes),
                replicas=self._replicas(cluster.replicas, instances, measured),
                measured=measured,
                failed=failed,
                ended=cluster.ended,
            )
            self._read = read
        return self._snapshot

    def _replicas(
        self, replicas: tuple[Replica, ...], instances: tuple[Instance, ...], measured: tuple[Measurement, ...]
    ) -> tuple[Replica, ...]:
        by_alloc, sizes = by_allocation(instances), measured_by_allocation(measured)
        found, merged = [], {}
        for replica in replicas:
            instance, size = by_alloc.get(replica.alloc), sizes.get(replica.alloc)
            entry = self._merged.get(replica.job)
            if entry is None or entry[0] != replica or entry[1] != instance or entry[2] != size:
                entry = (replica, instance, size, with_measured(with_health(replica, instance), size))
            merged[replica.job] = entry
            found.append(entry[3])
        self._merged = merged
        return tuple(found)


def observe(cluster: Cluster, registry: Registry) -> Snapshot:
    """What is, now, for whoever looks once; see `Observer`."""
    return Observer(cluster, registry).look()


def merge_silent(snapshot: Snapshot, lost: frozenset[str]) -> Snapshot:
    """The nodes with whether the registry hears from them, which often notices a loss before the scheduler does."""
    if not lost:
        return snapshot
    nodes = (replace(n, silent=(n.consul_name or n.name) in lost) for n in snapshot.nodes)
    return replace(snapshot, nodes=tuple(nodes))


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
    found = ((node, tuple(cached.get(node.name, ()))) for node in snapshot.nodes)
    return replace(snapshot, nodes=tuple(n if n.cached == files else replace(n, cached=files) for n, files in found))


def by_allocation(instances: Iterable[Instance]) -> dict[str, Instance]:
    """The instances by the allocation that registered them."""
    return {instance.meta.get("alloc", ""): instance for instance in instances}


def with_health(replica: Replica, instance: Instance | None) -> Replica:
    """The scheduler knows that a task runs and once was healthy; the registry knows whether it is healthy now."""
    if replica.state not in _RUNNING:
        return replica
    if instance is None:
        state = ReplicaState.UNHEALTHY if replica.state is ReplicaState.SERVING else replica.state
        return replace(replica, state=state)
    address = f"{instance.address}:{instance.port}"
    if instance.passing:
        return replace(replica, state=ReplicaState.SERVING, address=address, note="")
    was_serving = replica.state is ReplicaState.SERVING
    return replace(replica, state=ReplicaState.UNHEALTHY if was_serving else replica.state, address=address)
