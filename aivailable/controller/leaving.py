"""A node that is to be emptied: its mark, what would go down without it, and its work watched until it is elsewhere."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.follow import STEP_S, Progress, progress
from aivailable.controller.observe import observe
from aivailable.controller.system import CONSUL_META
from aivailable.controller.verdicts import known_failures
from aivailable.errors import GaveUpError, PermanentError
from aivailable.model.fleet import Fleet
from aivailable.model.plan import Move, Plan, Stop
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import CONTROLLER_JOB, GATEWAY_JOB, LEAVING_PREFIX
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Cluster, Registry

SETTLED_S = 2.0
"""So long nothing may be planned for what is left on a node before it counts as having no place elsewhere."""
STOP_SLACK_S = 60.0
"""Added to a drain's deadline and a task's kill timeout: Nomad's client tells the end of a task some time later."""
_GONE = (ReplicaState.LOST, ReplicaState.STOPPING)
_COMING = (ReplicaState.PENDING, ReplicaState.FETCHING, ReplicaState.LOADING)
_OWN_JOBS = (GATEWAY_JOB, CONTROLLER_JOB)

Running = Mapping[str, tuple[str, ...]]
"""The ids of the jobs that hold something of a node, by the node's name."""


def mark(registry: Registry, node: str) -> None:
    """Say that a node's work is to move off; a mark that is there stays."""
    registry.put(f"{LEAVING_PREFIX}{node}", b"1", index=0)


def unmark(registry: Registry, node: str) -> None:
    """Take the mark back; none is no error."""
    registry.delete(f"{LEAVING_PREFIX}{node}")


def marked(registry: Registry) -> tuple[str, ...]:
    """The names of marked nodes, those that the cluster does not know any more included, sorted."""
    return tuple(key.removeprefix(LEAVING_PREFIX) for key in registry.keys(LEAVING_PREFIX))


def thought_leaving(snapshot: Snapshot, node: str) -> Snapshot:
    """The snapshot as it is when that node has the mark."""
    nodes = (replace(n, leaving=True, eligible=False) if n.name == node else n for n in snapshot.nodes)
    return replace(snapshot, nodes=tuple(nodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A model with fewer replicas when a node is empty: how many it has now, how many then, and why no more."""

    model: str
    before: int
    after: int
    kept_serving: int
    reasons: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What it means, as a sentence."""
        below = f", below min_available = {self.kept_serving}" if self.after < self.kept_serving else ""
        down = "goes down" if self.after == 0 else f"is left with {self.after} of {self.before} replicas{below}"
        return f"{self.model} {down}: " + ("; ".join(self.reasons) or "there is no place elsewhere")


def losses(fleet: Fleet, snapshot: Snapshot, made: Plan, node: str) -> tuple[Loss, ...]:
    """The models that have fewer replicas once a node is empty, by a plan in which it is leaving."""
    found = []
    for model in fleet.models:
        before = sum(r.model == model.name and r.state not in _GONE and bool(r.node) for r in snapshot.replicas)
        after = sum(p.spec.model == model.name and p.node != node for p in made.placements)
        after += sum(later.count for later in made.deferred if later.model == model.name)
        if after < before:
            reasons = tuple(r.text for u in made.unplaced if u.model == model.name for r in u.reasons)
            found.append(
                Loss(
                    model=model.name,
                    before=before,
                    after=after,
                    kept_serving=model.kept_serving,
                    reasons=tuple(dict.fromkeys(reasons)),
                )
            )
    return tuple(found)


def own_jobs_at_stake(snapshot: Snapshot, node: str, running: Running) -> tuple[str, ...]:
    """What of AIvailable itself is in danger, as sentences: the last gateway, and what no other node can take."""
    here, words = running.get(node, ()), []
    elsewhere = {job for name, jobs in running.items() if name != node for job in jobs}
    if GATEWAY_JOB in here and GATEWAY_JOB not in elsewhere:
        words.append("the only gateway runs there: clients get no answer until another one is up")
    if homeless := without_place(snapshot, node, running):
        words.append(f"no other node can take {' and '.join(homeless)}: one less of each runs")
    return tuple(words)


def without_place(snapshot: Snapshot, node: str, running: Running) -> tuple[str, ...]:
    """Those of AIvailable's own jobs on a node that have no node to go to: each node takes one of each kind."""
    able = [n.name for n in snapshot.nodes if n.name != node and _may_run_own_jobs(snapshot, n.name)]
    here = running.get(node, ())
    return tuple(job for job in _OWN_JOBS if job in here and all(job in running.get(name, ()) for name in able))


def _may_run_own_jobs(snapshot: Snapshot, name: str) -> bool:
    node = snapshot.node(name)
    return bool(node and node.ready and node.eligible and not node.leaving and CONSUL_META in node.meta)


def on_node(snapshot: Snapshot, node: str) -> tuple[Replica, ...]:
    """The replicas that hold something of a node, those included that are being stopped."""
    return tuple(r for r in snapshot.replicas if r.node == node and r.state is not ReplicaState.LOST)


def stays(snapshot: Snapshot, made: Plan, node: str) -> tuple[Replica, ...]:
    """The replicas on a leaving node that have no place elsewhere, by a plan made now.

    A successor that is on its way does not name the replica that it is for: while one is, none of its model counts.
    """
    touched: set[str] = set()
    for action in made.actions:
        touched.update(action.waits_for)
        if isinstance(action, Stop | Move):
            touched.add(action.replica.job)
    planned = {placement.job_id for placement in made.placements}
    moving = {later.model for later in made.deferred} | {
        r.model for r in snapshot.replicas if r.state in _COMING and r.node != node and r.job in planned
    }
    left = {missing.model: missing.count for missing in made.unplaced if missing.model not in moving}
    found = []
    for replica in on_node(snapshot, node):
        if replica.job not in touched and replica.state is not ReplicaState.STOPPING and left.get(replica.model):
            left[replica.model] -= 1
            found.append(replica)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """One look at a node that is being emptied: what is still there, and what of that has no place elsewhere."""

    progress: Progress
    here: tuple[Replica, ...]
    stays: tuple[Replica, ...]

    @property
    def settled(self) -> bool:
        """Whether everything that can move has moved."""
        return len(self.here) == len(self.stays)


def look_at(fleet: Fleet, snapshot: Snapshot, node: str, known: Collection[tuple[str, float]] = ()) -> Leaving:
    """How far a node is from being empty; `known` as for `progress`."""
    here = on_node(snapshot, node)
    waiting = tuple(f"{r.model} replica {r.replica}" for r in here)
    seen = replace(progress(fleet, snapshot, known=known), waiting=waiting)
    return Leaving(progress=seen, here=here, stays=stays(snapshot, seen.plan, node))


def follow_leaving(
    node: str,
    cluster: Cluster,
    registry: Registry,
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Leaving]:
    """Looks, one after each change, until nothing of ours is on the node but what has no place elsewhere.

    Also ends when a version is given up meanwhile.

    Raises:
        GaveUpError: `timeout_s` passed; the cluster works on.
        PermanentError: Somebody has taken back the mark.
    """
    deadline, index, settled_s = clock() + timeout_s, 0, float("inf")
    known = known_failures(registry)
    while True:
        if node not in marked(registry):
            raise PermanentError(f"{node} is not to be emptied any more", hint="`aivailable undrain` took its mark")
        look = look_at(read_fleet(registry).fleet, observe(cluster, registry), node, known)
        yield look
        settled_s = min(settled_s, clock()) if look.settled else float("inf")
        if not look.here or look.progress.failed or clock() - settled_s >= SETTLED_S:
            return
        if clock() >= deadline:
            raise GaveUpError(
                f"gave up watching after {timeout_s:.0f} s; still on {node}: {', '.join(look.progress.waiting)}",
                hint=f"the cluster works on; `aivailable drain {node}` watches again. Does a controller lead? "
                "`aivailable doctor`",
            )
        index = cluster.changed(index, STEP_S)


def follow_drain(
    node: str,
    cluster: Cluster,
    *,
    deadline_s: float,
    kill_timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[str, ...]]:
    """Drain a node and give what still runs there, by job, one look after each change, until nothing does.

    What of AIvailable itself no other node can take is not waited for: it is stopped as soon as all else has gone.

    Raises:
        GaveUpError: Something runs there long after the drain's deadline.
    """
    cluster.drain(node, deadline_s=deadline_s)
    deadline, index, hurried = clock() + deadline_s + kill_timeout_s + STOP_SLACK_S, 0, False
    while left := cluster.running_on(node):
        yield left
        if not hurried and set(left) <= set(_OWN_JOBS):
            snapshot = cluster.snapshot()
            running = {n.name: cluster.running_on(n.name) for n in snapshot.nodes}
            if set(left) == set(without_place(snapshot, node, running)):
                cluster.drain(node, deadline_s=0)
                hurried = True
        if clock() >= deadline:
            raise GaveUpError(
                f"gave up watching: {deadline_s:.0f} s and more after its drain began {node} has {', '.join(left)}",
                hint=f"`nomad node status {node}` says what Nomad waits for; it works on",
            )
        index = cluster.changed(index, STEP_S)
