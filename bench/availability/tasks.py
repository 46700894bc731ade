"""Tasks as the kernel shows them: by the allocation that their processes' environment names."""

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The processes of one task of an allocation, and the environment they were given."""

    pids: tuple[int, ...]
    environment: Mapping[str, str]


def running(below: Path, name: str, proc: Path = Path("/proc")) -> dict[str, Task]:
    """Allocation -> its task of that name, for allocations whose folder lies in `below`: others' racks are not ours."""
    folder_mark, name_mark = f"NOMAD_TASK_DIR={below}/".encode(), f"NOMAD_TASK_NAME={name}\0".encode()
    found: dict[str, Task] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            raw = (folder / "environ").read_bytes()
            if folder_mark not in raw or name_mark not in raw:
                continue
            pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if entry)
            environment = {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
            alloc = environment["NOMAD_ALLOC_ID"]
            before = found[alloc].pids if alloc in found else ()
            found[alloc] = Task(pids=(*before, int(folder.name)), environment=environment)
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes; one that ended meanwhile gets none: what was to be hit is gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
