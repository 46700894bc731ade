"""Engine processes as the kernel shows them: by the allocation that their environment names."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The processes of an allocation's engine: one session, or one process, and the environment it was given."""

    session: int
    pids: tuple[int, ...]
    environment: Mapping[str, str]


def engines(below: Path, proc: Path = Path("/proc")) -> dict[str, Task]:
    """Allocation -> its engine task, for allocations whose folder lies in `below`: others' racks are not ours."""
    mark = f"NOMAD_TASK_DIR={below}/".encode()
    found: dict[str, Task] = {}
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            raw = (folder / "environ").read_bytes()
            if mark not in raw or b"NOMAD_TASK_NAME=engine\0" not in raw:
                continue
            pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if entry)
            environment = {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
            alloc, pid = environment["NOMAD_ALLOC_ID"], int(folder.name)
            before = found[alloc].pids if alloc in found else ()
            found[alloc] = Task(session=os.getsid(pid), pids=(*before, pid), environment=environment)
    return found
