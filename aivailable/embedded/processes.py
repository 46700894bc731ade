"""Starting and ending processes, and finding those that a crashed agent left behind.

A process is known by its pid and creation time, so that a pid used again is never taken for ours.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from aivailable.embedded.state import Document

KILL_POLL_S = 0.01
KILL_WAIT_S = 5.0
"""How long to wait for the kernel to take back a killed process."""


class Processes:
    """The processes of one agent, each in a session of its own, each written down until it has ended."""

    def __init__(self, record: Document) -> None:
        self._record = record

    async def start(
        self, command: Sequence[str], environment: Mapping[str, str], *, folder: Path, log: Path
    ) -> asyncio.subprocess.Process:
        """Start a process; its output goes to the end of `log`.

        Raises:
            OSError: The command cannot be started.
        """
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=dict(environment),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        remember(self._record, process.pid)
        return process

    def ended(self, pid: int) -> None:
        """Forget a process, and kill what it left of its session."""
        kill_session(pid, signal.SIGKILL)
        self._record.update(lambda known: [entry for entry in known or [] if entry[0] != pid])


def remember(record: Document, pid: int) -> None:
    """Write a process that leads a session down, so that the next start can end both if we cannot."""
    with contextlib.suppress(psutil.NoSuchProcess):
        born = psutil.Process(pid).create_time()
        record.update(lambda known: [*(known or []), [pid, born]])


def kill_session(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all of its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_leftovers(record: Document) -> int:
    """End what a crashed agent left running, with all of their sessions; gives how many processes there were."""
    _, known = record.read()
    sessions: dict[int, float] = {pid: born for pid, born in known or [] if not _taken_by_another(pid, born)}
    every = psutil.process_iter() if sessions else ()
    left = [process for process in every if _in_session(process, sessions) and _runs(process)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + KILL_WAIT_S
    while any(_runs(process) for process in left) and time.monotonic() < deadline:
        time.sleep(KILL_POLL_S)
    record.write([])
    return len(left)


def _taken_by_another(pid: int, born: float) -> bool:
    """Whether the pid was given to a later process. The kernel does not do that while its session has members."""
    try:
        return bool(psutil.Process(pid).create_time() != born)
    except psutil.NoSuchProcess:
        return False


def _runs(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie, which waits for whoever adopted it, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _in_session(process: psutil.Process, sessions: Mapping[int, float]) -> bool:
    """Whether a process is of a session that one of the known processes began, also when that one has ended."""
    try:
        born = sessions.get(os.getsid(process.pid))
        return born is not None and bool(process.create_time() >= born)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
