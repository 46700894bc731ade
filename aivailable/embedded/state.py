"""The files of an embedded cluster: documents with an index, replaced atomically, and the agent's lock.

Every document is `{"index": N, "value": …}`. The index grows with each write, so that a reader in any process can
wait for a change by reading a few bytes.
"""

import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from aivailable.errors import UserError

POLL_S = 0.02
"""How often a waiting reader looks at a document's index."""

LOOKED_AT_S = 0.2
"""How long a free agent lock may seem held, by those who only look at it."""

AGENT_LOCK = "agent.lock"
GATEWAY_DIR = Path("gateway")
ENDPOINT_FILE = GATEWAY_DIR / "endpoint.json"
"""Where the gateway of an embedded cluster says how clients reach it: {"base_url": …}."""

_INDEX = re.compile(rb'\{"index": (\d+)')


class Document:
    """One JSON document in one file. Writers in any process exclude each other by a lock beside it."""

    def __init__(self, path: Path, *, mode: int = 0o644) -> None:
        self.path = path
        self._mode = mode

    def read(self) -> tuple[int, Any]:
        """Index and value; 0 and None where nothing was ever written."""
        try:
            document = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return 0, None
        return int(document["index"]), document["value"]

    def index(self) -> int:
        """The index alone."""
        try:
            with self.path.open("rb") as file:
                found = _INDEX.match(file.read(64))
        except FileNotFoundError:
            return 0
        return int(found[1]) if found else 0

    def write(self, value: Any, *, expected: int | None = None) -> bool:
        """Replace the value; with `expected` only while the index is still that one."""
        with self._locked():
            if expected is not None and self.index() != expected:
                return False
            self._replace(value)
        return True

    def update(self, change: Callable[[Any], Any]) -> None:
        """Replace the value by `change(value)`, with nobody writing in between; an equal value is not written."""
        with self._locked():
            _, value = self.read()
            changed = change(value)
            if changed != value:
                self._replace(changed)

    def remove(self) -> None:
        """Remove the file; what was never written is no error."""
        with self._locked():
            self.path.unlink(missing_ok=True)

    def wait(self, since: int, timeout_s: float) -> int:
        """The index, as soon as it differs from `since`, else after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while (now := self.index()) == since and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return now

    def _replace(self, value: Any) -> None:
        text = json.dumps({"index": self.index() + 1, "value": value})
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, self._mode)
            file.write(text)
        Path(name).replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class StateFiles:
    """Where everything lies in a state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs = Document(root / "jobs.json")
        """Submitted jobs: id -> {"text": HCL, "index": this document's at that time}. Whoever removes one stops it."""
        self.marks = Document(root / "marks.json")
        """What people set: node -> {"down": bool, "ineligible": bool, "drain_until_s": Unix time, 0: no drain}."""
        self.cluster = Document(root / "cluster.json")
        """What the agent observes: {"snapshot": …, "running": [[node, job]], "events": […], "logs": {job: path}}."""
        self.services = Document(root / "services.json")
        """Registered instances: service -> [instance]."""
        self.secrets = Document(root / "secrets.json", mode=0o600)
        self.processes = Document(root / "processes.json")
        """Every process the agent started: [pid, create time], for the next start after a crash."""

    def key(self, key: str) -> Document:
        """The document of one key of the key-value store."""
        return Document(self.root / "kv" / f"{quote(key, safe='')}.json")

    def stored_keys(self) -> list[str]:
        """The keys of the key-value store that hold a value, sorted."""
        return sorted(unquote(file.name.removesuffix(".json")) for file in (self.root / "kv").glob("*.json"))

    def lock(self, key: str) -> Path:
        """The lock file of one key."""
        return self.root / "locks" / quote(key, safe="")

    def alloc(self, alloc: str) -> Path:
        """The directory of one allocation."""
        return self.root / "allocs" / alloc


def is_running(root: Path) -> bool:
    """Whether an agent runs on this state directory."""
    try:
        with (root / AGENT_LOCK).open("r") as lock:
            return not _try_lock(lock.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


@contextmanager
def agent_lock(root: Path) -> Iterator[None]:
    """Be the one agent of this directory; the lock goes with the process, however it ends.

    Raises:
        UserError: Another agent holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / AGENT_LOCK).open("a+") as lock:
        deadline = time.monotonic() + LOOKED_AT_S
        while not (held := _try_lock(lock.fileno(), fcntl.LOCK_EX)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if not held:
            lock.seek(0)
            raise UserError(
                f"an embedded cluster runs already in {root} (process {lock.read().strip() or 'unknown'})",
                hint="stop it with Ctrl-C in its terminal, or use another directory: AIVAILABLE_STATE=DIR",
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
