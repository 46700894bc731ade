"""Starting and ending processes, and finding those that a crashed agent left behind.

A process is known by its pid and creation time, so that a pid used again is never taken for ours.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from aivailable.embedded.state import Document

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
    """Write a process down, so that the next start can end it if we cannot."""
    with contextlib.suppress(psutil.NoSuchProcess):
        born = psutil.Process(pid).create_time()
        record.update(lambda known: [*(known or []), [pid, born]])


def kill_session(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all of its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_leftovers(record: Document) -> int:
    """End what a crashed agent left running; gives how many there were."""
    _, known = record.read()
    left = [process for pid, born in known or [] if (process := _same(pid, born))]
    family = [member for process in left for member in (*_children(process), process)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=KILL_WAIT_S)
    record.write([])
    return len(left)


def _same(pid: int, born: float) -> psutil.Process | None:
    """The process of that pid if it is the one that was born then."""
    try:
        process = psutil.Process(pid)
        return process if process.create_time() == born else None
    except psutil.NoSuchProcess:
        return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
