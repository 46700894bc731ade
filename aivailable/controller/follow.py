"""Watches the fleet until it serves: a stream of snapshots for whoever shows progress."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from aivailable.controller.journal import Decision, read_decisions
from aivailable.controller.observe import observe
from aivailable.controller.verdicts import known_failures
from aivailable.errors import GaveUpError
from aivailable.model.failure import Failure
from aivailable.model.fleet import Fleet
from aivailable.model.plan import Plan
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import given_up, gone_back, plan
from aivailable.seams import Cluster, Registry

STEP_S = 0.2
"""Longest time between two looks; a change of the cluster wakes earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look. `waiting` names what is still to come; `done` when nothing more can be expected.

    `unplaced` counts replicas that found no place, `failed` are the variants of models none of whose variants starts,
    `refused` says which jobs the cluster does not take, and why: all three end the wait, but not as a success.
    `back` are the models of which an earlier version goes on. `plan` is the one made for this look.
    """

    snapshot: Snapshot
    replicas: tuple[Replica, ...]
    waiting: tuple[str, ...]
    unplaced: int
    plan: Plan
    failed: tuple[Failure, ...] = ()
    back: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing more is awaited."""
        return not self.waiting or bool(self.failed) or bool(self.refused)


def progress(
    fleet: Fleet, snapshot: Snapshot, decisions: Iterable[Decision] = (), known: Collection[tuple[str, float]] = ()
) -> Progress:
    """How far the fleet is from what a plan made now would leave.

    `decisions` are those made meanwhile, `known` the failures (hash and time) of before.
    """
    made = plan(fleet, snapshot)
    wanted = {p.job_id: f"{p.spec.model} replica {p.replica}" for p in made.placements}
    serving = {r.job for r in snapshot.replicas if r.state is ReplicaState.SERVING}
    leaving = tuple(f"{r.model} replica {r.replica} to stop" for r in snapshot.replicas if r.job not in wanted)
    waiting = tuple(text for job, text in wanted.items() if job not in serving)
    lost = {
        model: failures
        for model, failures in given_up(fleet, snapshot.failed).items()
        if any((failure.hash8, failure.at_s) not in known for failure in failures)
    }
    later = tuple(f"{d.model} replica {d.replica} ({d.why})" for d in made.deferred)
    unplaced_jobs = sum(unplaced.count for unplaced in made.unplaced)
    return Progress(
        snapshot=snapshot,
        replicas=tuple(sorted(snapshot.replicas, key=lambda r: (r.model, r.replica, r.job))),
        waiting=waiting + later + (leaving if not unplaced_jobs else ()),
        unplaced=unplaced_jobs,
        failed=tuple(failure for failures in lost.values() for failure in failures),
        back=gone_back(fleet, snapshot.failed),
        plan=made,
        refused=tuple(dict.fromkeys(f"{d.model} #{d.replica}: {d.text}" for d in decisions if d.refused)),
    )


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
    known = known_failures(registry)
    while True:
        fresh = [decision for decision in read_decisions(registry) if decision not in before]
        look = progress(fleet, observe(cluster, registry), fresh, known)
        yield look
        if look.done:
            return
        if clock() >= deadline:
            raise GaveUpError(
                f"gave up watching after {timeout_s:.0f} s; still awaited: {', '.join(look.waiting)}",
                hint="the cluster works on; see `aivailable status`",
            )
        index = cluster.changed(index, STEP_S)
