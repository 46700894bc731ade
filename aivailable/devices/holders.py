"""Who holds a card's memory: tasks of Nomad, known by their environment, and everybody else.

Nomad tells a device plugin of no release, but every process of a task carries its allocation's id and, from Reserve,
what it booked. That works for containers too: their processes are the host's processes.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aivailable.devices.inventory import Reading
from aivailable.devices.slices import booked_mib

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task that booked slices: its allocation and name, what it booked in MiB by card, its processes."""

    alloc: str
    task: str
    booked_mib: Mapping[str, int]
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A card's memory by holder, in MiB. `strangers` are processes that belong to no task."""

    total_mib: int
    booked_mib: int
    foreign_mib: int
    strangers: tuple[int, ...] = field(default=())

    def short_mib(self, asked_mib: int) -> int:
        """How much is missing for another `asked_mib`; 0 or less means that it is there."""
        return asked_mib + self.booked_mib + self.foreign_mib - self.total_mib


def running_tasks(proc: Path = PROC) -> tuple[Task, ...]:
    """The tasks of this node that hold slices of a card; processes that may not be read are passed over."""
    found: dict[tuple[str, str], tuple[Mapping[str, int], list[int]]] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            raw = (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"NOMAD_ALLOC_ID=" not in raw:
            continue
        pairs = (entry.partition(b"=") for entry in raw.split(b"\0"))
        env = {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
        if booked := booked_mib(env):
            key = (env["NOMAD_ALLOC_ID"], env.get("NOMAD_TASK_NAME", ""))
            found.setdefault(key, (booked, []))[1].append(int(folder.name))
    return tuple(
        Task(alloc=alloc, task=task, booked_mib=booked, pids=tuple(sorted(pids)))
        for (alloc, task), (booked, pids) in sorted(found.items())
    )


def holdings(reading: Reading, tasks: Iterable[Task]) -> Holdings:
    """What is booked on a card by tasks, and what others hold.

    Where the driver tells each process's memory, what no task's process holds is foreign. Where it does not, everything
    in use beyond what is booked is.
    """
    uuid = reading.card.uuid
    here = tuple(task for task in tasks if uuid in task.booked_mib)
    booked = sum(task.booked_mib[uuid] for task in here)
    ours = {pid for task in here for pid in task.pids}
    if not reading.processes or any(process.used_mib is None for process in reading.processes):
        accounted = booked
    else:
        accounted = sum(process.used_mib or 0 for process in reading.processes if process.pid in ours)
    return Holdings(
        total_mib=reading.card.total_mib,
        booked_mib=booked,
        foreign_mib=max(0, reading.card.used_mib - accounted),
        strangers=tuple(process.pid for process in reading.processes if process.pid not in ours),
    )
