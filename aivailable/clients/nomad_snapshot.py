"""A snapshot of Nomad that costs what has changed since the last one: three small requests where nothing has."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aivailable.clients.nomad_allocations import Allocation, Document, allocation_of, held_instances
from aivailable.clients.nomad_api import NomadApi, QueryValue
from aivailable.clients.nomad_lists import KeptList
from aivailable.clients.nomad_views import REPLICA_PREFIX, KnownNode, known_node, replica_of
from aivailable.model.cards import Node
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot

DETAILS_PAGE = 100
"""Allocations with resources and task states per page, some 8 kB each."""
ONE_BY_ONE_MAX = 100
"""Up to so many changed allocations are asked for by their ids; of more, all are read, in pages."""

_WHOLE: Mapping[str, QueryValue] = {"resources": "true", "task_states": "true", "namespace": "*"}


@dataclass(frozen=True, slots=True)
class Job:
    """A replica's job as the list has it; `index` is its modify index: that of its last registration, or its stop."""

    id: str
    namespace: str
    meta: Mapping[str, str]
    stopped: bool
    index: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot, and the allocations of each replica's job that it was made from, by job."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    allocations: Mapping[str, tuple[Allocation, ...]] = field(default_factory=dict)


class NomadReader:
    """Reads nodes, allocations and jobs, and makes a snapshot of them. Any thread may use it.

    What it keeps follows the rule of `KeptList`. Nodes and replicas are made anew when a part of theirs is another
    object than before, and are still the same objects where the outcome is equal: whoever keeps something by object
    (the planner does) may go by that.
    """

    def __init__(self, api: NomadApi) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._node_list = KeptList(api, "/v1/nodes", known_node, query={}, details=self._node_details)
        self._allocation_list = KeptList(
            api,
            "/v1/allocations",
            allocation_of,
            query={"namespace": "*", "task_states": "false"},
            details=self._allocation_details,
        )
        self._job_list = KeptList(api, "/v1/jobs", _job_of, query={"prefix": REPLICA_PREFIX, "meta": "true"})
        self._parts: tuple[object, ...] = ()
        self._nodes: dict[str, tuple[KnownNode, tuple[Allocation, ...], Node]] = {}
        self._replicas: dict[str, tuple[Job, tuple[Allocation, ...], tuple[Node | None, ...], Replica]] = {}
        self._reading = Reading()

    def read(self) -> Reading:
        """What is, now; the same object as before where nothing changed.

        Raises:
            AivailableError: Nomad does not answer.
        """
        with self._lock:
            nodes, allocations, jobs = self._node_list.read(), self._allocation_list.read(), self._job_list.read()
            parts = (nodes, allocations, jobs)
            if len(self._parts) == len(parts) and all(a is b for a, b in zip(parts, self._parts, strict=True)):
                return self._reading
            self._make_nodes(nodes, allocations)
            self._make_replicas(jobs, allocations)
            found = sorted((node for _, _, node in self._nodes.values()), key=lambda node: node.name)
            shown = [r for *_, r in self._replicas.values() if r.alloc or r.state is not ReplicaState.STOPPING]
            self._reading = Reading(
                Snapshot(
                    nodes=tuple(found),
                    replicas=tuple(shown),
                    ended={job.id: job.index for job in jobs.values() if job.stopped},
                ),
                {job: entry[1] for job, entry in self._replicas.items()},
            )
            self._parts = parts
            return self._reading

    def _make_nodes(self, known: Mapping[str, KnownNode], allocations: Mapping[str, Allocation]) -> None:
        """The nodes with what is free on them; those that are down stay in view while something of theirs is known."""
        there: dict[str, list[Allocation]] = defaultdict(list)
        for allocation in allocations.values():
            there[allocation.node_id].append(allocation)
        made = {}
        for key, facts in known.items():
            if facts.down and key not in there:
                continue
            entry = self._nodes.get(key)
            booking = tuple(a for a in there.get(key, ()) if a.bookings)
            if entry is None or entry[0] is not facts or not _same(entry[1], booking):
                held = held_instances(booking).get(key, set())
                entry = (facts, booking, facts.with_held(held, entry[2] if entry else None))
            made[key] = entry
        self._nodes = made

    def _make_replicas(self, jobs: Mapping[str, Job], allocations: Mapping[str, Allocation]) -> None:
        of_job: dict[tuple[str, str], list[Allocation]] = defaultdict(list)
        for allocation in allocations.values():
            if allocation.job.startswith(REPLICA_PREFIX):
                of_job[allocation.namespace, allocation.job].append(allocation)
        nodes = {key: node for key, (_, _, node) in self._nodes.items()}
        made = {}
        for job in jobs.values():
            if not job.meta.get("model"):
                continue
            mine = tuple(of_job.get((job.namespace, job.id), ()))
            places = tuple(nodes.get(allocation.node_id) for allocation in mine)
            entry = self._replicas.get(job.id)
            if entry is None or entry[0] is not job or not _same(entry[1], mine) or not _same(entry[2], places):
                replica = replica_of(job.id, job.meta, mine, nodes, stopped=job.stopped, index=job.index)
                known = entry[3] if entry else None
                entry = (job, mine, places, known if known == replica else replica)
            made[job.id] = entry
        self._replicas = made

    def _node_details(self, ids: Sequence[str]) -> Iterator[Document]:
        """Nodes have their meta in their own documents only."""
        for key in ids:
            if document := self._api.get(f"/v1/node/{key}"):
                yield document

    def _allocation_details(self, ids: Sequence[str]) -> Iterator[Document]:
        if len(ids) > ONE_BY_ONE_MAX:
            for page in self._api.pages("/v1/allocations", DETAILS_PAGE, **_WHOLE):
                yield from page.body or ()
        else:
            for key in ids:
                yield from self._api.get("/v1/allocations", **_WHOLE, prefix=key) or ()


def _job_of(document: Document) -> Job:
    return Job(
        id=document["ID"],
        namespace=document.get("Namespace", ""),
        meta=dict(document.get("Meta") or {}),
        stopped=document["Stop"],
        index=document["JobModifyIndex"],
    )


def _same(before: Sequence[object], now: Sequence[object]) -> bool:
    return len(before) == len(now) and all(a is b for a, b in zip(before, now, strict=True))
