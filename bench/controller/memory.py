"""A cluster and a registry that have everything in memory, behind the seams."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from aivailable.documents import dump_fleet, dump_measurements
from aivailable.model.events import ClusterEvent
from aivailable.model.fleet import Fleet
from aivailable.model.service import CACHE_PREFIX, FLEET_KEY, MEASURED_PREFIX, Instance
from aivailable.model.snapshot import Snapshot
from aivailable.seams import KeyValue, Lease
from bench.controller.world import instances, measurements, sha256_of


class MemoryCluster:
    """Shows one snapshot; nothing can be done to it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._touched = 0

    def touch(self) -> None:
        """Another replica has changed."""
        self._touched += 1
        replicas = list(self._snapshot.replicas)
        number = self._touched % len(replicas)
        replicas[number] = replace(replicas[number], failures=replicas[number].failures + 1)
        self._snapshot = replace(self._snapshot, replicas=tuple(replicas))

    def snapshot(self) -> Snapshot:
        """What is."""
        return self._snapshot

    def submit(self, job_id: str, text: str, *, index: int | None = None) -> None:
        """Nothing is to be started here."""
        raise AssertionError(f"{job_id} is started: {len(text)} characters, at index {index}")

    def stop(self, job_id: str, *, index: int | None = None) -> None:
        """Nothing is to be stopped here."""
        raise AssertionError(f"{job_id} is stopped, at index {index}")

    def set_eligibility(self, node: str, *, eligible: bool) -> None:
        """Nothing is done to nodes here."""
        raise AssertionError(f"{node} is set eligible: {eligible}")

    def drain(self, node: str, *, deadline_s: float) -> None:
        """Nothing is done to nodes here."""
        raise AssertionError(f"{node} is drained within {deadline_s} s")

    def running_on(self, node: str) -> tuple[str, ...]:
        """Nobody asks."""
        raise AssertionError(f"asked what runs on {node}")

    def changed(self, since: int, timeout_s: float) -> int:
        """Never."""
        time.sleep(timeout_s)
        return since

    def events(self, limit: int) -> tuple[ClusterEvent, ...]:
        """None."""
        return ()[:limit]

    def logs(self, job_id: str, *, tail_lines: int, follow: bool = False) -> Iterator[str]:
        """None."""
        del job_id, tail_lines, follow
        return iter(())


class MemoryRegistry:
    """Keys and instances in memory."""

    def __init__(self, fleet: Fleet, snapshot: Snapshot) -> None:
        self._instances = instances(snapshot)
        self._values = {FLEET_KEY: KeyValue(dump_fleet(fleet), 1)}
        for sha256, found in measurements(fleet, snapshot).items():
            self._values[f"{MEASURED_PREFIX}{sha256}"] = KeyValue(dump_measurements(found), 1)
        files = {model.name: sha256_of(model) for model in fleet.models}
        for replica in snapshot.replicas:
            self._values[f"{CACHE_PREFIX}{replica.node}/{files[replica.model]}"] = KeyValue(b"", 1)

    def instances(self, service: str) -> tuple[Instance, ...]:
        """All of them."""
        del service
        return self._instances

    def services_changed(self, service: str, since: int, timeout_s: float) -> int:
        """Never."""
        del service
        time.sleep(timeout_s)
        return since

    def lost_nodes(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def get(self, key: str) -> KeyValue | None:
        """A value."""
        return self._values.get(key)

    def keys(self, prefix: str) -> tuple[str, ...]:
        """Keys by their beginning."""
        return tuple(sorted(key for key in self._values if key.startswith(prefix)))

    def values(self, prefix: str) -> Mapping[str, KeyValue]:
        """Values by the beginning of their keys."""
        return {key: self._values[key] for key in self.keys(prefix)}

    def put(self, key: str, value: bytes, *, index: int | None = None, lease: Lease | None = None) -> bool:
        """Nothing is to be written here."""
        raise AssertionError(f"{key} is written: {len(value)} bytes, {index}, {lease}")

    def delete(self, key: str) -> None:
        """Nothing is to be written here."""
        raise AssertionError(f"{key} is deleted")

    def key_changed(self, key: str, since: int, timeout_s: float) -> int:
        """Never."""
        return self.services_changed(key, since, timeout_s)

    @contextmanager
    def lock(self, key: str, *, timeout_s: float) -> Iterator[Lease]:
        """Nobody leads here."""
        raise AssertionError(f"{key} is locked for {timeout_s} s")
        yield
