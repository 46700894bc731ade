"""The one process that runs things: Nomad's server and client and Consul's checks, for simulated nodes.

One thread with one event loop owns all state. It looks at the documents that other processes write (jobs, marks),
places what waits, and publishes what it sees (snapshot, events, registered instances).
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import math
import os
import shutil
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Self

from aivailable.documents import snapshot_document
from aivailable.embedded.allocation import Allocation, Host, Outcome
from aivailable.embedded.job import Job
from aivailable.embedded.jobspec import parse_job
from aivailable.embedded.processes import KILL_WAIT_S, Processes, end_leftovers
from aivailable.embedded.scheduler import Waiting, place
from aivailable.embedded.state import Document, StateFiles, agent_lock
from aivailable.embedded.views import replica_of, with_use
from aivailable.errors import PermanentError
from aivailable.model.cards import Node
from aivailable.model.events import ClusterEvent
from aivailable.model.snapshot import Snapshot

LOOK_S = 0.05
"""How often the agent looks at what other processes wrote."""

EVENTS_KEPT = 200
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class JobRun:
    """A submitted job and what became of it so far."""

    job: Job
    submitted: Mapping[str, Any]
    """The entry of the document of jobs; another entry under its id is another submission."""
    allocation: Allocation | None = None
    why: str = ""
    """What happened to its last allocation, while it has no new one."""
    note: str = ""
    lost: bool = False
    failures: int = 0
    failed_at_s: deque[float] = field(default_factory=deque)
    """When allocations failed, within the interval of the reschedule block."""
    log: Path | None = None
    """What the newest allocation's newest task printed."""
    not_before_s: float = 0.0
    avoid: frozenset[str] = frozenset()
    gone: bool = False
    """The job was removed; forget it when its allocation has ended."""

    @property
    def index(self) -> int:
        """That of its submission."""
        return int(self.submitted["index"])


class Agent:
    """Runs the embedded cluster of one state directory for as long as the context lasts."""

    def __init__(self, state: Path, nodes: tuple[Node, ...], *, seed: int = 0) -> None:
        self._files = StateFiles(state)
        self._nodes = {node.name: replace(node, drivers=("raw_exec",)) for node in nodes}
        self._rng = Random(seed)  # noqa: S311 - a repeatable choice between equals, not a secret
        self._runs: dict[str, JobRun] = {}
        self._events: deque[ClusterEvent] = deque(maxlen=EVENTS_KEPT)
        self._ports: set[int] = set()
        self._drain_until_s: dict[str, float] = {}
        """Nodes that are being emptied, and when, as Unix time, what is left there is stopped."""
        self._written: dict[Path, object] = {}
        self._alive: set[asyncio.Task[None]] = set()
        self._open = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stopping = False
        self._failure: BaseException | None = None
        self._finished: concurrent.futures.Future[None] = concurrent.futures.Future()

    def __enter__(self) -> Self:
        """Take the lock, end what a crash left, start.

        Raises:
            UserError: Another agent runs on this directory.
            PermanentError: It did not start.
        """
        with ExitStack() as opened:
            opened.enter_context(agent_lock(self._files.root))
            end_leftovers(self._files.processes)
            shutil.rmtree(self._files.root / "allocs", ignore_errors=True)
            self._files.jobs.write({})
            self._files.marks.update(self._lasting_marks)
            self._publish()
            started = threading.Event()
            threading.Thread(target=self._run_thread, args=(started,), name="agent", daemon=True).start()
            if not started.wait(START_TIMEOUT_S):
                raise PermanentError("the embedded cluster did not start", hint="is the machine overloaded?")
            self._open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every job in order; what does not end in time is killed. Nothing is left running.

        Raises:
            PermanentError: The agent had failed, or does not end.
        """
        with self._open:
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # a loop that failed is closed
                    self._loop.call_soon_threadsafe(self._begin_stopping)
            concurrent.futures.wait([self._finished], STOP_TIMEOUT_S)
            end_leftovers(self._files.processes)
            concurrent.futures.wait([self._finished], KILL_WAIT_S)
            if not self._finished.done():
                raise PermanentError("the embedded cluster does not end", hint="its processes were killed")
            if (error := self._finished.exception()) is not None:
                raise PermanentError(f"the embedded cluster failed: {error!r}", hint="its log has more") from error

    @property
    def failure(self) -> BaseException | None:
        """What ended the agent before its time, or None; everything it ran is stopped then."""
        return self._finished.exception() if self._finished.done() else None

    def _run_thread(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._main(started))
        except BaseException as error:  # noqa: BLE001 - told at once, and handed to whoever waits for the end
            _log.exception("the embedded cluster failed")
            self._runs.clear()
            with contextlib.suppress(OSError):
                self._tell("", "", f"the embedded cluster failed: {error!r}")
                self._publish()
            self._finished.set_exception(error)
        else:
            self._finished.set_result(None)

    async def _main(self, started: threading.Event) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        host = Host(
            processes=Processes(self._files.processes),
            environment=dict(os.environ),
            tell=self._tell,
            changed=self._changed,
        )
        started.set()
        seen: tuple[int, int] = (0, 0)
        while not self._stopping:
            if self._failure is not None:
                raise self._failure
            now = (self._files.jobs.index(), self._files.marks.index())
            if now != seen:
                seen = now
                self._read_marks()
                self._read_jobs()
            self._place_waiting(host)
            self._drain()
            self._publish()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            self._wake.clear()
        for run in list(self._runs.values()):
            self._remove(run)
        while self._alive:
            await asyncio.wait(self._alive)
        self._publish()

    def _begin_stopping(self) -> None:
        self._stopping = True
        self._changed()

    def _changed(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _lasting_marks(self, marks: Any) -> dict[str, dict[str, bool]]:
        """What outlives the agent of the marks: as Nomad's servers it remembers which nodes get no work."""
        return {name: {"ineligible": True} for name, mark in (marks or {}).items() if mark.get("ineligible")}

    def _read_marks(self) -> None:
        """Nodes that went down lose everything at once; draining ones are emptied as far as there is room."""
        _, marks = self._files.marks.read()
        for name, mark in (marks or {}).items():
            if (node := self._nodes.get(name)) is None:  # set by who still saw an earlier agent's nodes
                continue
            ready, eligible = not mark.get("down", False), not mark.get("ineligible", False)
            if ready != node.ready:
                self._tell(name, "", f"{name} is {'up again' if ready else 'down'}")
            if eligible != node.eligible:
                self._tell(name, "", f"{name} takes {'work again' if eligible else 'no new work'}")
            until_s = mark.get("drain_until_s", 0.0)
            if until_s and name not in self._drain_until_s:
                self._tell(name, "", f"{name} is draining")
            self._drain_until_s.pop(name, None)
            self._drain_until_s |= {name: until_s} if until_s else {}
            self._nodes[name] = replace(node, ready=ready, eligible=eligible)
            if not ready:
                for run in self._runs.values():
                    if run.allocation is not None and run.allocation.node.name == name:
                        run.allocation.cut_power()

    def _read_jobs(self) -> None:
        _, jobs = self._files.jobs.read()
        for job_id, run in list(self._runs.items()):
            if (jobs or {}).get(job_id) != run.submitted:
                self._remove(run)
        for job_id, submitted in (jobs or {}).items():
            if job_id not in self._runs:
                self._runs[job_id] = JobRun(job=parse_job(submitted["text"]), submitted=submitted)

    def _remove(self, run: JobRun) -> None:
        """Stop a job; it is forgotten at once when nothing of it runs, and read anew if it was submitted again."""
        run.gone = True
        if run.allocation is None:
            self._runs.pop(run.job.id, None)
        else:
            run.allocation.stop()

    def _place_waiting(self, host: Host) -> None:
        """Highest priority first."""
        now = time.monotonic()
        waiting = [r for r in self._runs.values() if r.allocation is None and not r.gone and r.not_before_s <= now]
        for run in sorted(waiting, key=lambda run: -run.job.priority):
            placed = place(run.job, list(self._nodes.values()), self._used(), rng=self._rng, avoid=run.avoid)
            if isinstance(placed, Waiting):
                run.note = f"{run.why}; {placed.note}" if run.why else placed.note
                continue
            run.why, run.note, run.lost = "", "", False
            alloc_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
            ports = {label: self._free_port() for label in run.job.ports}
            run.allocation = Allocation(alloc_id, run.job, placed, ports, self._files.alloc(alloc_id), host)
            names = ", ".join(card.name for card, _ in run.allocation.cards())
            self._tell(placed.node.name, run.job.id, f"placed on {placed.node.name}{f', {names}' if names else ''}")
            task = asyncio.ensure_future(self._live(run, run.allocation, ports))
            self._alive.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._alive.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failure = error
            self._changed()

    def _drain(self) -> None:
        """Stop one allocation of a draining node that has room elsewhere: one at a time, as two may see one room.

        After the drain's deadline all that are left.
        """
        leaving = [
            run.allocation
            for run in self._runs.values()
            if run.allocation is not None and not run.gone and run.allocation.node.name in self._drain_until_s
        ]
        for allocation in leaving:
            if time.time() >= self._drain_until_s[allocation.node.name]:
                allocation.stop()
        if any(allocation.stopping for allocation in leaving):
            return
        for allocation in leaving:
            rng = Random(0)  # noqa: S311 - only a trial
            trial = place(allocation.job, list(self._nodes.values()), self._used(), rng=rng)
            if not isinstance(trial, Waiting):
                allocation.stop()
                return

    async def _live(self, run: JobRun, allocation: Allocation, ports: Mapping[str, int]) -> None:
        """Run an allocation and decide what follows its end."""
        outcome, reason = await allocation.run()
        self._ports.difference_update(ports.values())
        run.allocation = None
        if run.gone:
            self._tell(allocation.node.name, run.job.id, "stopped")
            self._runs.pop(run.job.id, None)
            self._read_jobs()
        elif outcome is Outcome.FAILED:
            self._reschedule(run, allocation.node.name, reason)
        elif outcome is Outcome.LOST:
            run.lost = True
            run.why = run.note = f"lost with {allocation.node.name}"
            self._tell(allocation.node.name, run.job.id, f"{run.why}; looks for another place")
        self._changed()

    def _reschedule(self, run: JobRun, node: str, reason: str) -> None:
        """Another try elsewhere, after the delay and as often as the reschedule block allows."""
        policy, now = run.job.reschedule, time.monotonic()
        while run.failed_at_s and now - run.failed_at_s[0] > policy.interval_s:
            run.failed_at_s.popleft()
        run.failures += 1
        run.avoid = frozenset({node})
        run.why = run.note = f"failed on {node}: {reason}"
        if policy.attempts is not None and len(run.failed_at_s) >= policy.attempts:
            run.not_before_s = math.inf
            run.why = run.note = f"{run.note}; {policy.attempts} reschedules did not help"
            self._tell(node, run.job.id, run.note)
            return
        run.failed_at_s.append(now)
        delay_s = policy.delay_after_s(run.failures)
        run.not_before_s = now + delay_s
        self._tell(node, run.job.id, f"{run.why}; next try in {delay_s:g} s")

    def _used(self) -> frozenset[str]:
        """Slices stay booked until the process that holds them is dead."""
        return frozenset(s for run in self._runs.values() if run.allocation for s in run.allocation.slice_ids)

    def _free_port(self) -> int:
        """A port nobody listens on and no living allocation was given."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in self._ports:
                self._ports.add(port)
                return port

    def _tell(self, node: str, job: str, text: str) -> None:
        self._events.append(ClusterEvent(at_s=time.time(), node=node, job=job, text=text))
        self._changed()

    def _publish(self) -> None:
        """Write what is seen; documents whose value stays the same are left alone."""
        used = self._used()
        snapshot = Snapshot(
            nodes=tuple(with_use(node, used) for node in self._nodes.values()),
            replicas=tuple(r for run in self._runs.values() if (r := replica_of(run.job, run.allocation, run))),
        )
        services: dict[str, list[dict[str, object]]] = {}
        logs: dict[str, str] = {}
        for job_id, run in self._runs.items():
            if run.allocation is not None:
                run.log = run.allocation.log
                for instance in run.allocation.instances:
                    services.setdefault(instance.service, []).append(asdict(instance))
            if run.log is not None:
                logs[job_id] = str(run.log)
        published = {
            "snapshot": snapshot_document(snapshot),
            "running": [[run.allocation.node.name, job] for job, run in self._runs.items() if run.allocation],
            "events": [asdict(event) for event in self._events],
            "logs": logs,
        }
        self._write(self._files.services, services)
        self._write(self._files.cluster, published)

    def _write(self, document: Document, value: object) -> None:
        """Write what changed; only this agent writes these documents."""
        if self._written.get(document.path) != value:
            self._written[document.path] = value
            document.write(value)
