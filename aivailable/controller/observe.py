"""One snapshot from what the cluster and the registry each know."""

from collections import defaultdict
from dataclasses import replace

from aivailable.controller.measuring import Measurements, merge_measured
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import CACHE_PREFIX, ENGINE_SERVICE, LEAVING_PREFIX, Instance
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Cluster, Registry

_RUNNING = (ReplicaState.LOADING, ReplicaState.SERVING)


class Observer:
    """Looks at one cluster and its registry again and again.

    The rule: where all that is read is equal to what was read before, the snapshot is the one given before; else those
    of its nodes and replicas that came out equal are still the same objects, for the planner keeps what it worked out
    by object. That saves work and never hides a change: only equal things stand for each other.
    """

    def __init__(self, cluster: Cluster, registry: Registry) -> None:
        self._cluster = cluster
        self._registry = registry
        self._measurements = Measurements(registry)
        self._read: tuple[object, ...] = ()
        self._snapshot = Snapshot()

    def look(self) -> Snapshot:
        """What is, now: the cluster's nodes and replicas with the registry's word on health, files and sizes.

        Raises:
            AivailableError: A store could not be read.
        """
        cluster = self._cluster.snapshot()
        instances = self._registry.instances(ENGINE_SERVICE)
        cached, leaving = self._registry.keys(CACHE_PREFIX), self._registry.keys(LEAVING_PREFIX)
        measured = self._measurements.read()
        read = (cluster, instances, cached, leaving, measured)
        if read != self._read:
            snapshot = merge_leaving(merge_cached(merge_health(cluster, instances), cached), leaving)
            self._snapshot = _with_known(merge_measured(snapshot, measured), self._snapshot)
            self._read = read
        return self._snapshot


def observe(cluster: Cluster, registry: Registry) -> Snapshot:
    """What is, now, for whoever looks once; see `Observer`."""
    return Observer(cluster, registry).look()


def _with_known(snapshot: Snapshot, before: Snapshot) -> Snapshot:
    """A snapshot in which nodes and replicas that are as before are the objects of before."""
    nodes = {node.id: node for node in before.nodes}
    replicas = {replica.job: replica for replica in before.replicas}
    return replace(
        snapshot,
        nodes=tuple(known if (known := nodes.get(node.id)) == node else node for node in snapshot.nodes),
        replicas=tuple(same if (same := replicas.get(r.job)) == r else r for r in snapshot.replicas),
    )


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
