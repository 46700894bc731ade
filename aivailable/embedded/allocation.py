"""One allocation's life: prestart tasks, the main task with restarts in place, health checks, an orderly stop.

Runs in the agent's event loop. It tells the agent of every change by `changed()`, and ends with an `Outcome`.
"""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from aivailable.devices.slices import reserve
from aivailable.embedded.checks import passes
from aivailable.embedded.conditions import node_attributes
from aivailable.embedded.environment import interpolate, nomad_variables, task_environment
from aivailable.embedded.job import Job, Service, Task
from aivailable.embedded.processes import Processes, kill_session
from aivailable.embedded.scheduler import Placed
from aivailable.errors import AivailableError
from aivailable.model.cards import Card
from aivailable.model.progress import progress_note
from aivailable.model.replica import ReplicaState
from aivailable.model.service import Instance

ADDRESS = "127.0.0.1"
TAIL_BYTES = 2000


class Outcome(StrEnum):
    """How an allocation ended."""

    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What an allocation needs from the agent."""

    processes: Processes
    environment: Mapping[str, str]
    tell: Callable[[str, str, str], None]
    """Record an event: node, job, text."""
    changed: Callable[[], None]
    """Something that is published has changed."""


class Allocation:
    """A job placed on a node."""

    def __init__(
        self, alloc_id: str, job: Job, placed: Placed, ports: Mapping[str, int], folder: Path, host: Host
    ) -> None:
        self.id = alloc_id
        self.job = job
        self.node = placed.node
        self.devices = placed.devices
        self.state = ReplicaState.PENDING
        self.load_s: float | None = None
        self.instances: list[Instance] = []
        self.log = folder / f"{job.main_task.name}.log"
        self._folder = folder
        self._ports = ports
        self._host = host
        self._stop = asyncio.Event()
        self._lost = False
        self._pid: int | None = None
        self._reserved: dict[str, dict[str, str]] = {}
        self._since_s = time.monotonic()

    @property
    def slice_ids(self) -> frozenset[str]:
        """The slices this allocation holds."""
        return frozenset(slice_id for _, ids in self.devices for slice_id in ids)

    def cards(self) -> list[tuple[Card, int]]:
        """The cards it uses, with the MiB booked on each."""
        by_uuid = {card.uuid: card for card in self.node.cards}
        booked: dict[str, int] = {}
        for _, ids in self.devices:
            for slice_id in ids:
                uuid = slice_id.rpartition("/")[0]
                booked[uuid] = booked.get(uuid, 0) + by_uuid[uuid].slice_mib
        return [(by_uuid[uuid], mib) for uuid, mib in booked.items()]

    def progress(self) -> str:
        """How far a fetching or loading replica is, in words; else empty."""
        return progress_note(self.state, _tail(self.log), since_s=time.monotonic() - self._since_s)

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask for an orderly stop."""
        self._stop.set()

    def cut_power(self) -> None:
        """Kill everything now: the node is gone."""
        self._lost = True
        if self._pid is not None:
            kill_session(self._pid, signal.SIGKILL)
        self._stop.set()

    async def run(self) -> tuple[Outcome, str]:
        """Live until stopped, failed or lost; gives the outcome and the reason in words."""
        for folder in (self._folder, self._task_dir("alloc"), self._task_dir("local"), self._task_dir("secrets")):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            for task in self.job.tasks:
                if task.prestart and (reason := await self._prestart(task)):
                    return self._end(Outcome.STOPPED if self._stop.is_set() else Outcome.FAILED, reason)
            return self._end(*await self._keep_running(self.job.main_task))
        except AivailableError as error:
            return self._end(Outcome.FAILED, error.message)
        except OSError as error:
            return self._end(Outcome.FAILED, f"cannot start: {error}")

    def _end(self, outcome: Outcome, reason: str) -> tuple[Outcome, str]:
        self._publish([])
        return (Outcome.LOST if self._lost else outcome), reason

    async def _prestart(self, task: Task) -> str | None:
        """Run a prestart task to its end; gives why it failed, if it did."""
        if self._stop.is_set():
            return "stopped before it began"
        self._set(ReplicaState.FETCHING)
        code = await self._run_once(task, serve=False)
        return None if code == 0 else f"prestart task {task.name} {_ended(code)}"

    async def _keep_running(self, task: Task) -> tuple[Outcome, str]:
        """Run the main task, again after a crash as the restart block allows."""
        restarts: deque[float] = deque()
        policy = self.job.restart
        while not self._stop.is_set():
            self._set(ReplicaState.LOADING)
            code = await self._run_once(task, serve=True)
            if self._stop.is_set():
                break
            now = time.monotonic()
            while restarts and now - restarts[0] > policy.interval_s:
                restarts.popleft()
            if len(restarts) < policy.attempts:
                delay_s = policy.delay_s
                restarts.append(now)
            elif policy.mode == "delay":
                delay_s = policy.interval_s - (now - restarts[0] if restarts else 0.0)
            else:
                return Outcome.FAILED, f"{task.name} {_ended(code)}; {policy.attempts} restarts did not help"
            count = f"{len(restarts)} of {policy.attempts}"
            self._tell(f"{task.name} {_ended(code)}; restarting in {delay_s:.3g} s ({count})")
            await self._sleep(delay_s)
        return Outcome.STOPPED, "stopped"

    async def _run_once(self, task: Task, *, serve: bool) -> int:
        """One run of a task's process; gives its exit code (negative: the signal)."""
        nomad, node = self._variables(task), node_attributes(self.node)
        known = {**node, **nomad}
        command = [interpolate(word, known) for word in (task.command, *task.args)]
        environment = task_environment(
            host=self._host.environment,
            nomad=nomad,
            node=node,
            task=task.env,
            device=self._reserve(task),
            templates=task.templates,
        )
        if serve:
            self._publish([self._instance(s, known, passing=not s.checks) for s in self.job.services])
        self.log = log = self._folder / f"{task.name}.log"
        process = await self._host.processes.start(command, environment, folder=self._task_dir("local"), log=log)
        self._pid = process.pid
        if self._lost:
            kill_session(process.pid, signal.SIGKILL)
        begun = time.monotonic()
        watchers = [self._stop_in_order(process, task)]
        if serve:
            watchers += [self._check(s, number, begun) for number, s in enumerate(self.job.services)]
        try:
            return await _first(process.wait(), watchers)
        finally:
            self._pid = None
            self._host.processes.ended(process.pid)
            await process.wait()  # it was killed at the latest just now; asyncio must see its end before the loop's
            self._publish([replace(instance, passing=False) for instance in self.instances])

    async def _stop_in_order(self, process: asyncio.subprocess.Process, task: Task) -> None:
        """Leave the registry, wait for gateways to notice, SIGTERM, and SIGKILL when time is up."""
        await self._stop.wait()
        self._set(ReplicaState.STOPPING)
        self._publish([])
        if not self._lost:
            await asyncio.sleep(self.job.shutdown_delay_s)
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)  # to the task's own process alone, as Nomad's executor does
            await asyncio.sleep(task.kill_timeout_s)
            self._tell(f"{task.name} did not end within {task.kill_timeout_s:g} s; killed")
        kill_session(process.pid, signal.SIGKILL)

    async def _check(self, service: Service, number: int, begun: float) -> None:
        """Keep the health of the registered service of that number true, until it is deregistered."""
        while service.checks and not self._stop.is_set():
            results = [await passes(ADDRESS, self._ports[service.port], check) for check in service.checks]
            if self._stop.is_set():
                return
            if all(results) != self.instances[number].passing:
                self.instances[number] = replace(self.instances[number], passing=all(results))
                self._health_changed(passing=all(results), begun=begun)
            await asyncio.sleep(min(check.interval_s for check in service.checks))

    def _health_changed(self, *, passing: bool, begun: float) -> None:
        if passing and self.state is ReplicaState.LOADING:
            self.load_s = round(time.monotonic() - begun, 3)
            self.state = ReplicaState.SERVING
            self._tell(f"serves on {self.node.name} after {self.load_s:.1f} s")
        elif not passing:
            self._tell("its health check fails")
        self._host.changed()

    def _instance(self, service: Service, variables: Mapping[str, str], *, passing: bool) -> Instance:
        return Instance(
            id=f"_nomad-task-{self.id}-group-{self.job.group}-{service.name}-{service.port}",
            service=service.name,
            address=ADDRESS,
            port=self._ports[service.port],
            passing=passing,
            node=self.node.name,
            tags=tuple(interpolate(tag, variables) for tag in service.tags),
            meta={key: interpolate(value, variables) for key, value in service.meta.items()},
        )

    def _publish(self, instances: list[Instance]) -> None:
        """Be registered with these instances only."""
        if instances != self.instances:
            self.instances = instances
            self._host.changed()

    def _reserve(self, task: Task) -> dict[str, str]:
        """Reserve's environment; asked for at the first start of a task only, as Nomad does."""
        if task.name not in self._reserved:
            merged: dict[str, str] = {}
            for name, ids in self.devices:
                if name == task.name:
                    merged.update(reserve(self.node.cards, ids).env)
            self._reserved[task.name] = merged
        return self._reserved[task.name]

    def _variables(self, task: Task) -> dict[str, str]:
        """The NOMAD_… variables of a task."""
        return nomad_variables(
            alloc=self.id,
            job=self.job.id,
            group=self.job.group,
            task=task.name,
            folder=self._folder,
            address=ADDRESS,
            ports=self._ports,
        )

    def _task_dir(self, name: str) -> Path:
        return self._folder / name

    async def _sleep(self, seconds: float) -> None:
        """Wait, or less when a stop is asked for."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    def _set(self, state: ReplicaState) -> None:
        self.state = state
        self._since_s = time.monotonic()
        self._host.changed()

    def _tell(self, text: str) -> None:
        self._host.tell(self.node.name, self.job.id, text)


def _tail(log: Path) -> str:
    """The end of a log; empty where there is none yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"


async def _first(end: Coroutine[None, None, int], watchers: list[Coroutine[None, None, None]]) -> int:
    """Wait for the end of a process with its watchers beside it; an error in one of those comes out here."""
    process = asyncio.ensure_future(end)
    waiting: set[asyncio.Future[Any]] = {process, *(asyncio.ensure_future(watcher) for watcher in watchers)}
    try:
        while not process.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return process.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
