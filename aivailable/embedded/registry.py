"""The embedded stand-in for Consul: registered instances, key-value store, lock."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aivailable.embedded.state import StateFiles
from aivailable.model.service import Instance
from aivailable.seams import KeyValue, Lease

LOCK_POLL_S = 0.05
_BYTES = "surrogateescape"
"""How bytes that are no UTF-8 are kept in a JSON document: as text that gives them back."""


class EmbeddedRegistry:
    """The registry of one state directory; see `aivailable.seams.Registry`. Only the agent registers instances."""

    def __init__(self, state: Path) -> None:
        self._files = StateFiles(state)

    def instances(self, service: str) -> tuple[Instance, ...]:
        """All registered instances of a service, passing or not."""
        _, services = self._files.services.read()
        return tuple(
            Instance(**{**instance, "tags": tuple(instance["tags"])}) for instance in (services or {}).get(service, ())
        )

    def services_changed(self, service: str, since: int, timeout_s: float) -> int:
        """Wait until the instances of any service or their health differ from index `since`."""
        del service  # one document holds them all; waking too often is allowed
        return self._files.services.wait(since, timeout_s)

    def lost_nodes(self) -> frozenset[str]:
        """None: there are no agents that could hear each other, the one agent knows at once."""
        return frozenset()

    def get(self, key: str) -> KeyValue | None:
        """The value under a key, or None."""
        index, value = self._files.key(key).read()
        return None if value is None else KeyValue(value=value.encode(errors=_BYTES), index=index)

    def keys(self, prefix: str) -> tuple[str, ...]:
        """The keys that begin with a prefix, sorted."""
        return tuple(key for key in self._files.stored_keys() if key.startswith(prefix))

    def values(self, prefix: str) -> Mapping[str, KeyValue]:
        """The values under all keys that begin with a prefix, by key, sorted."""
        found = {key: self.get(key) for key in self.keys(prefix)}
        return {key: value for key, value in found.items() if value is not None}

    def put(self, key: str, value: bytes, *, index: int | None = None, lease: Lease | None = None) -> bool:
        """Write a value; with `index` only if the key still has that index, with `lease` only while it is held."""
        if lease is not None and not lease.held():
            return False
        return self._files.key(key).write(value.decode(errors=_BYTES), expected=index)

    def delete(self, key: str) -> None:
        """Remove a key; an unknown one is no error."""
        self._files.key(key).remove()

    def key_changed(self, key: str, since: int, timeout_s: float) -> int:
        """Wait until the value under a key differs from index `since`."""
        return self._files.key(key).wait(since, timeout_s)

    @contextmanager
    def lock(self, key: str, *, timeout_s: float) -> Iterator[Lease]:
        """Hold a lock, if it can be got within `timeout_s`. It is lost with its process."""
        path = self._files.lock(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        lease = FileLease(got=_lock_within(descriptor, time.monotonic() + timeout_s))
        try:
            yield lease
        finally:
            lease.end()
            os.close(descriptor)


class FileLease:
    """A file lock, held from the moment it was got to its end; the operating system ends it with the process."""

    def __init__(self, *, got: bool) -> None:
        self._held = got

    def held(self) -> bool:
        """Whether it is held."""
        return self._held

    def end(self) -> None:
        """Hold it no longer."""
        self._held = False


def _lock_within(descriptor: int, deadline_s: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(LOCK_POLL_S)
        else:
            return True
