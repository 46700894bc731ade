"""Watches the fleet until it serves: a stream of snapshots for whoever shows progress."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from aivailable.controller.journal import Decision, read_decisions
from aivailable.controller.observe import observe
from aivailable.errors import GaveUpError
from aivailable.model.fleet import Fleet
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from aivailable.seams import Cluster, Registry

STEP_S = 0.2
"""Longest time between two looks; a change of the cluster wakes earlier."""


FAILURES_TO_GIVE_UP = 2
"""Failed allocations after which watching ends: the first may be the card's fault, the second was on another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look. `waiting` names what is still to come; `done` when nothing more can be expected.

    `unplaced` counts replicas that found no place, `failed` are those that failed on more than one card, `refused` says
    which jobs the cluster does not take, and why: all three end the wait, but not as a success.
    """

    snapshot: Snapshot
    replicas: tuple[Replica, ...]
    waiting: tuple[str, ...]
    unplaced: int
    failed: tuple[Replica, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing more is awaited."""
        return not self.waiting or bool(self.failed) or bool(self.refused)


def progress(fleet: Fleet, snapshot: Snapshot, decisions: Iterable[Decision] = ()) -> Progress:
    """How far the fleet is from what a plan made now would leave; `decisions` are those made meanwhile."""
    made = plan(fleet, snapshot)
    wanted = {p.job_id: f"{p.spec.model} replica {p.replica}" for p in made.placements}
    serving = {r.job for r in snapshot.replicas if r.state is ReplicaState.SERVING}
    leaving = tuple(f"{r.model} replica {r.replica} to stop" for r in snapshot.replicas if r.job not in wanted)
    waiting = tuple(text for job, text in wanted.items() if job not in serving)
    later = tuple(f"{d.model} replica {d.replica} ({d.why})" for d in made.deferred)
    unplaced_jobs = sum(unplaced.count for unplaced in made.unplaced)
    return Progress(
        snapshot=snapshot,
        replicas=tuple(sorted(snapshot.replicas, key=lambda r: (r.model, r.replica, r.job))),
        waiting=waiting + later + (leaving if not unplaced_jobs else ()),
        unplaced=unplaced_jobs,
        failed=tuple(r for r in snapshot.replicas if r.job in wanted and _keeps_failing(r)),
        refused=tuple(dict.fromkeys(f"{d.model} #{d.replica}: {d.text}" for d in decisions if d.refused)),
    )


def _keeps_failing(replica: Replica) -> bool:
    return replica.failures >= FAILURES_TO_GIVE_UP and replica.state is not ReplicaState.SERVING


def follow(
    fleet: Fleet,
    cluster: Cluster,
    registry: Registry,
    *,
    timeout_s: float,
    before: Collection[Decision] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Looks, one after each change, until nothing more is awaited.

    Args:
        fleet: What is awaited.
        cluster: Where.
        registry: Where.
        timeout_s: When to give up watching, in seconds.
        before: What controllers had decided before the fleet was written (default: until now); it does not count.
        clock: Seconds that only rise.

    Raises:
        GaveUpError: `timeout_s` passed; the cluster works on.
    """
    deadline, index = clock() + timeout_s, 0
    before = frozenset(read_decisions(registry) if before is None else before)
    while True:
        fresh = [decision for decision in read_decisions(registry) if decision not in before]
        look = progress(fleet, observe(cluster, registry), fresh)
        yield look
        if look.done:
            return
        if clock() >= deadline:
            raise GaveUpError(
                f"gave up watching after {timeout_s:.0f} s; still awaited: {', '.join(look.waiting)}",
                hint="the cluster works on; see `aivailable status`",
            )
        index = cluster.changed(index, STEP_S)
