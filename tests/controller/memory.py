"""A cluster in memory that reads the jobs it is given, and dies, with whoever speaks to it, at a write of choice."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from aivailable.embedded.jobspec import parse_job
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.model.events import ClusterEvent
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import Instance
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Lease
from tests.placement.world import World


class Killed(BaseException):
    """The process that was writing is gone; no `except Exception` can tell."""


class Writes:
    """Counts writes; at number `kill_at` (from 1) the writer dies, before the write or after it."""

    def __init__(self, kill_at: int = 0, *, before: bool = True) -> None:
        self.count, self._kill_at, self._before = 0, kill_at, before

    def begins(self) -> None:
        self.count += 1
        if self._before and self.count == self._kill_at:
            raise Killed

    def ended(self) -> None:
        if not self._before and self.count == self._kill_at:
            raise Killed


class MemoryCluster:
    """`World` behind the seam; see `aivailable.seams.Cluster`."""

    def __init__(self, world: World, writes: Writes) -> None:
        self.world, self.writes = world, writes

    def snapshot(self) -> Snapshot:
        return self.world.snapshot()

    def submit(self, job_id: str, text: str, *, index: int | None = None) -> None:
        del index
        self.writes.begins()
        job = parse_job(text)
        assert job.id == job_id
        if job_id not in self.world.replicas:
            (ask,) = [ask for task in job.tasks for ask in task.devices]
            (uuid,) = [a.value for a in ask.affinities]
            node = next(n for n in self.world.snapshot().nodes if any(c.uuid == uuid for c in n.cards))
            self.world.replicas[job_id] = Replica(
                model=job.meta["model"],
                variant=job.meta["variant"],
                replica=int(job.meta["replica"]),
                job=job_id,
                state=ReplicaState.LOADING,
                engine=job.meta["engine"],
                alloc=f"alloc-{job_id}",
                node=node.name,
                cards=(uuid,),
                claim_mib=(ask.count * node.cards[0].slice_mib,),
                replaces=job.meta.get("replaces", ""),
            )
        self.writes.ended()

    def stop(self, job_id: str, *, index: int | None = None) -> None:
        del index
        self.writes.begins()
        if job_id in self.world.replicas:
            self.world.replicas[job_id] = replace(self.world.replicas[job_id], state=ReplicaState.STOPPING)
        self.writes.ended()

    def changed(self, since: int, timeout_s: float) -> int:
        del timeout_s
        return since + 1

    def set_eligibility(self, node: str, *, eligible: bool) -> None:
        self.world.change_node(node, eligible=eligible)

    def drain(self, node: str, *, deadline_s: float) -> None:
        raise NotImplementedError(f"{node}, {deadline_s}")

    def running_on(self, node: str) -> tuple[str, ...]:
        return tuple(r.job for r in self.world.replicas.values() if r.node == node)

    def events(self, limit: int) -> tuple[ClusterEvent, ...]:
        return ()[:limit]

    def logs(self, job_id: str, *, tail_lines: int, follow: bool = False) -> Iterator[str]:
        del job_id, tail_lines, follow
        return iter(())


class CountedRegistry(EmbeddedRegistry):
    """Files, whose writes count as well, and a world's engines, as they are."""

    def __init__(self, state: Path, world: World, writes: Writes) -> None:
        super().__init__(state)
        self._world, self._writes = world, writes

    def instances(self, service: str) -> tuple[Instance, ...]:
        return tuple(
            Instance(id=r.job, service=service, address="h", port=1, passing=True, meta={"alloc": r.alloc})
            for r in self._world.replicas.values()
            if r.state is ReplicaState.SERVING
        )

    def put(self, key: str, value: bytes, *, index: int | None = None, lease: Lease | None = None) -> bool:
        self._writes.begins()
        written = super().put(key, value, index=index, lease=lease)
        self._writes.ended()
        return written
