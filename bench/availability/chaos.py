"""Breaks what the schedule says, one lane beside the other, and looks on: what was lost, when it was there again."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aivailable.errors import AivailableError
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from bench.availability.backend import Backend, Blow, done_of, overcommitted_mib
from bench.availability.records import Done
from bench.availability.schedule import QUIET_AFTER_S, Fault, Lane

LOOK_S = 0.2
RECOVERY_S = 90.0
"""How long the next fault of a lane waits for the last one to be recovered from; then it is given up, and said."""
SETTLED_S = 1.0
"""Recovered is what stays recovered for so long."""
GATEWAY_SETTLED_S = 5.0
"""Besides, before another gateway is hit: longer than the longest answer takes, because a request that has just lost
its gateway has one retry, and is in flight at the other one."""

_BEGUN = (ReplicaState.FETCHING, ReplicaState.LOADING, ReplicaState.SERVING)


@dataclass(slots=True)
class Chaos:
    """The faults of one run as they happen. `clock_s` gives seconds since the start of the load."""

    backend: Backend
    clock_s: Callable[[], float]
    seconds: float
    done: list[Done] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    overcommitted_mib: int = 0
    looks: int = 0
    errors: list[str] = field(default_factory=list)
    """What went wrong in the benchmark itself: a run with one is no measurement."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _one_gateway: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def unleashed(self, lanes: Mapping[Lane, Sequence[Fault]]) -> Iterator[None]:
        """Break things for as long as the context lasts; afterwards everything is mended."""
        threads = [threading.Thread(target=self._watch, name="watch")]
        threads += [threading.Thread(target=self._lane, args=(faults,), name=lane) for lane, faults in lanes.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _lane(self, faults: Sequence[Fault]) -> None:
        try:
            for fault in faults:
                if self._stop.wait(max(0.0, fault.at_s - self.clock_s())):
                    return
                if self.clock_s() > self.seconds - QUIET_AFTER_S:
                    return
                self._deal(fault)
        except Exception as error:  # noqa: BLE001 - a thread's edge: told at the end, where the run is judged
            self.errors.append(f"{threading.current_thread().name}: {error!r}")

    def _deal(self, fault: Fault) -> None:
        blow = self.backend.blow(fault)
        if blow is not None and blow.gateway:
            # A node that is hit may hold a gateway: then the lane of gateways waits, or has to be waited for.
            with self._one_gateway:
                if not self._stop.is_set():
                    self._strike(fault, self.backend.blow(fault))
                    self._stop.wait(GATEWAY_SETTLED_S)
        else:
            self._strike(fault, blow)

    def _strike(self, fault: Fault, blow: Blow | None) -> None:
        if blow is None:
            self.skipped.append(f"{self.clock_s():.1f} s: {fault.kind.name}: nothing that may be hit")
            return
        with self._lock:
            done = done_of(len(self.done) + 1, fault, blow, self.clock_s())
            self.done.append(done)
        try:
            blow.strike()
            self._stop.wait(fault.hold_s)
        finally:
            blow.mend()
            done.ended_s = self.clock_s()
        self._wait_for_recovery(done, blow.recovered)

    def _wait_for_recovery(self, done: Done, recovered: Callable[[], bool]) -> None:
        deadline = time.monotonic() + RECOVERY_S
        since: float | None = None
        while time.monotonic() < deadline:
            if not _quietly(recovered):
                since = None
            elif since is None:
                since = self.clock_s()
            elif self.clock_s() >= since + SETTLED_S:
                done.recovered_s = since
                return
            if self._stop.wait(LOOK_S):
                done.note = "the run ended before all was as before"
                return
        done.note = f"not as before within {RECOVERY_S:g} s"

    def _watch(self) -> None:
        """Look on: over-commitment at each look, and when replacements start and serve."""
        while not self._stop.wait(LOOK_S):
            try:
                snapshot, booked = self.backend.look(), self.backend.booked_mib()
            except AivailableError:
                continue  # a store that was just broken; the next look sees it
            except Exception as error:  # noqa: BLE001 - as in `_lane`
                self.errors.append(f"watch: {error!r}")
                return
            self.looks += 1
            self.overcommitted_mib = max(self.overcommitted_mib, overcommitted_mib(snapshot, booked))
            for done in list(self.done):
                self._replacements(done, snapshot)

    def _replacements(self, done: Done, snapshot: Snapshot) -> None:
        for model, before in done.lost.items():
            others = [r for r in snapshot.replicas if r.model == model and r.alloc and r.alloc not in before]
            took_s = self.clock_s() - done.begun_s
            if any(replica.state in _BEGUN for replica in others):
                done.started_s.setdefault(model, took_s)
            if any(replica.state is ReplicaState.SERVING for replica in others):
                done.serving_s.setdefault(model, took_s)


def _quietly(recovered: Callable[[], bool]) -> bool:
    """Whether all is as before; a store that does not answer is not."""
    try:
        return recovered()
    except AivailableError:
        return False
