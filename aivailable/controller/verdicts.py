"""Which versions do not start: judged from what their replicas did, kept for every plan after that.

A crash is tried again in place by the scheduler, then on another card. A variant that failed there too is given up for
the next one, and a version none of whose variants starts for the version before.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from aivailable.documents import dump_failures, load_failures
from aivailable.errors import AivailableError
from aivailable.model.failure import Failure
from aivailable.model.fleet import Fleet
from aivailable.model.replica import Replica, ReplicaState, hash_of
from aivailable.model.service import FAILED_KEY
from aivailable.model.snapshot import Snapshot
from aivailable.placement import version_hashes
from aivailable.seams import Cluster, Lease, Registry

FAILURES_TO_GIVE_UP = 2
"""Failed allocations of one job: the first may be the card's fault, the second was on another where there is one."""

TAIL_LINES = 8
REST_S = 600.0
"""How long a variant rests before it is tried again, where nothing else can run; twice as long each time."""
REST_MAX_S = 6 * 3600.0

_log = logging.getLogger(__name__)


def read_failures(registry: Registry, now: Callable[[], float] = time.time) -> tuple[Failure, ...]:
    """What was given up; a document that cannot be read counts as none and is written anew in time."""
    entry = registry.get(FAILED_KEY)
    try:
        found = load_failures(entry.value, where=f"key {FAILED_KEY}") if entry else ()
    except AivailableError as error:
        _log.warning("%s", error)
        return ()
    now_s = now()
    return tuple(replace(failure, resting=now_s < failure.until_s) for failure in found)


def known_failures(registry: Registry) -> frozenset[tuple[str, float]]:
    """What was given up until now, by hash and time, for whoever watches for more."""
    return frozenset((failure.hash8, failure.at_s) for failure in read_failures(registry))


def failing(snapshot: Snapshot) -> Iterator[tuple[Replica, str]]:
    """Replicas whose spec is to be given up, one of each spec, with the reason.

    Those that failed on more than one card, or were found to load for too long, while nothing of their spec serves.
    """
    resting = {failure.hash8 for failure in snapshot.failed if failure.resting}
    works = {hash_of(replica.job) for replica in snapshot.replicas if replica.state is ReplicaState.SERVING}
    told = resting | works
    for replica in snapshot.replicas:
        waits = replica.state in (ReplicaState.PENDING, ReplicaState.LOST) and not replica.cards
        gave_up = replica.failures >= FAILURES_TO_GIVE_UP and waits
        overdue = replica.state is ReplicaState.LOADING and bool(replica.forsaken)
        if (gave_up or overdue) and hash_of(replica.job) not in told:
            told.add(hash_of(replica.job))
            yield replica, (replica.forsaken if overdue else replica.note or "its engine keeps failing")


class Verdicts:
    """Gives versions up, as the leader, and tells what it gave up."""

    def __init__(self, cluster: Cluster, registry: Registry, now: Callable[[], float]) -> None:
        self._cluster, self._registry, self._now = cluster, registry, now

    def look(self, fleet: Fleet, snapshot: Snapshot, lease: Lease | None = None) -> tuple[Failure, ...]:
        """Judge what does not start, and write it down.

        Returns:
            What is given up now; the snapshot with it is the one to plan for.
        """
        fresh = tuple(self._failure(replica, reason, snapshot.failed) for replica, reason in failing(snapshot))
        known = {h for spec in (*fleet.models, *fleet.previous) for h in version_hashes(fleet, spec)}
        again = {failure.hash8 for failure in fresh}
        kept = [f for f in snapshot.failed if f.hash8 in known and f.hash8 not in again]
        if fresh or len(kept) < len(snapshot.failed):
            written = self._registry.put(FAILED_KEY, dump_failures((*kept, *fresh)), lease=lease)
            return fresh if written else ()
        return ()

    def _failure(self, replica: Replica, reason: str, before: Iterable[Failure]) -> Failure:
        count = 1 + max((f.count for f in before if f.hash8 == hash_of(replica.job)), default=0)
        now_s = self._now()
        try:
            tail = tuple(self._cluster.logs(replica.job, tail_lines=TAIL_LINES))
        except AivailableError as error:
            tail = (f"(its log cannot be read: {error.message})",)
        return Failure(
            model=replica.model,
            variant=replica.variant,
            hash8=hash_of(replica.job),
            reason=reason,
            engine=replica.engine,
            tail=tail,
            at_s=now_s,
            until_s=now_s + min(REST_MAX_S, REST_S * 2 ** min(count - 1, 16)),
            count=count,
        )


def with_failures(snapshot: Snapshot, fresh: Iterable[Failure]) -> Snapshot:
    """The snapshot with what was given up since it was taken."""
    fresh = tuple(fresh)
    again = {failure.hash8 for failure in fresh}
    kept = (failure for failure in snapshot.failed if failure.hash8 not in again)
    return replace(snapshot, failed=(*kept, *fresh)) if fresh else snapshot
