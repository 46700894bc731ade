"""What serving engines hold: read once from each allocation's log and the driver, kept for the next plans.

The leader writes, under its lease; every planner reads. One document for each model's files.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from aivailable.documents import dump_measurements, load_measurements
from aivailable.errors import AivailableError
from aivailable.model.cards import Card
from aivailable.model.fleet import Engine
from aivailable.model.measurement import Conditions, Measurement
from aivailable.model.plan import Placement, Plan
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import MEASURED_PREFIX
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Cluster, Lease, Registry
from aivailable.vram.enginelogs import Printed, read_log
from aivailable.vram.hardware import image

LOG_LINES = 4000
"""A start prints some hundreds of lines; what comes later does not matter."""

LOGS_PER_ROUND = 4
"""Reading a log takes the cluster's time; the rest waits for the next round."""

KEPT = 20
"""Measurements of one model's files that are kept, the newest. So many under the same conditions are enough."""

_log = logging.getLogger(__name__)


class Measurements:
    """Reads all measurements again and again; a document is parsed anew only when its key's index is another."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._documents: dict[str, tuple[int, tuple[Measurement, ...]]] = {}
        self._found: tuple[Measurement, ...] = ()

    def read(self) -> tuple[Measurement, ...]:
        """All measurements; a document that cannot be read counts as none and is written anew in time."""
        values = self._registry.values(MEASURED_PREFIX)
        known, self._documents = self._documents, {}
        for key, entry in values.items():
            document = known.get(key)
            self._documents[key] = (
                document if document and document[0] == entry.index else (entry.index, _readable(key, entry.value))
            )
        if self._documents != known:
            self._found = tuple(m for _, found in self._documents.values() for m in found)
        return self._found


def _readable(key: str, document: bytes) -> tuple[Measurement, ...]:
    try:
        return tuple(load_measurements(document, where=f"key {key}"))
    except AivailableError as error:
        _log.warning("%s", error)
        return ()


def measured_by_allocation(measured: Iterable[Measurement]) -> dict[str, int | None]:
    """What replicas were seen to hold on one card, in MiB, by allocation."""
    return {m.alloc: m.total_mib for m in measured}


def with_measured(replica: Replica, size_mib: int | None) -> Replica:
    """The replica with what it was seen to hold."""
    return replace(replica, measured_mib=size_mib) if size_mib else replica


class Measurer:
    """Looks at each allocation once, when it has come to serve.

    `in_use` asks the drivers for the MiB in use by card; it is asked only when there is something to measure.
    """

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        now: Callable[[], float],
        in_use: Callable[[], Mapping[str, int]],
    ) -> None:
        self._in_use = in_use
        self._cluster = cluster
        self._registry = registry
        self._now = now
        self._looked: set[str] = set()

    def look(self, snapshot: Snapshot, made: Plan, lease: Lease | None = None) -> tuple[tuple[Replica, int], ...]:
        """Measure what serves and was not looked at, and write it down.

        Returns:
            Replicas that hold more than they booked on a card, with the MiB they were seen to hold.
        """
        self._looked &= {replica.alloc for replica in snapshot.replicas}
        known = {m.alloc for m in snapshot.measured} | self._looked
        unknown = [r for r in snapshot.replicas if r.state is ReplicaState.SERVING and r.alloc not in known]
        if not unknown:
            return ()
        placements = {p.job_id: p for p in made.placements}
        cards = {card.uuid: card for node in snapshot.nodes for card in node.cards}
        enough = {found for found, count in Counter(m.conditions for m in snapshot.measured).items() if count >= KEPT}
        fresh: list[tuple[Replica, Measurement]] = []
        logs = 0
        for replica in unknown:
            placement = placements.get(replica.job)
            card = cards.get(replica.cards[0]) if replica.cards else None
            if placement is None:
                continue
            conditions = _conditions(placement, card) if card else None
            if card and conditions and conditions not in enough:
                if logs == LOGS_PER_ROUND:
                    break
                logs += 1
                if measurement := self._measure(replica, conditions, card, snapshot):
                    fresh.append((replica, measurement))
            self._looked.add(replica.alloc)
        self._write([measurement for _, measurement in fresh], lease)
        return tuple(
            (replica, m.total_mib)
            for replica, m in fresh
            if m.total_mib and replica.claim_mib and m.total_mib > replica.claim_mib[0]
        )

    def _measure(self, replica: Replica, conditions: Conditions, card: Card, snapshot: Snapshot) -> Measurement | None:
        try:
            printed = read_log(self._cluster.logs(replica.job, tail_lines=LOG_LINES))
        except AivailableError as error:
            _log.warning("%s is not measured: %s", replica.job, error)
            return None
        held_mib = self._held_mib(replica, card, snapshot)
        # An engine that fell back to host memory says nothing of the card; on a simulated one that is how it is.
        if conditions.engine is Engine.LLAMACPP and printed.on_host != card.simulated:
            printed = Printed()
        if not printed and held_mib is None:
            return None
        return Measurement(
            conditions=conditions,
            alloc=replica.alloc,
            at_s=self._now(),
            weights_mib=_whole(printed.weights_mib),
            kv_mib=_whole(printed.kv_mib),
            activation_mib=_whole(printed.activation_mib),
            graphs_mib=_whole(printed.graphs_mib),
            held_mib=held_mib,
        )

    def _held_mib(self, replica: Replica, card: Card, snapshot: Snapshot) -> int | None:
        """What the driver says is in use on a card that this replica has to itself, less what strangers hold."""
        alone = [other for other in snapshot.replicas if card.uuid in other.cards] == [replica]
        if card.simulated or not alone:
            return None
        in_use_mib = self._in_use().get(card.uuid, 0) - card.foreign_mib
        return in_use_mib if in_use_mib > 0 else None

    def _write(self, fresh: Iterable[Measurement], lease: Lease | None) -> None:
        by_files: dict[str, list[Measurement]] = defaultdict(list)
        for measurement in fresh:
            by_files[measurement.conditions.sha256].append(measurement)
        for sha256, new in by_files.items():
            key = f"{MEASURED_PREFIX}{sha256}"
            entry = self._registry.get(key)
            try:
                before = load_measurements(entry.value, where=f"key {key}") if entry else ()
            except AivailableError as error:
                _log.warning("written anew: %s", error)
                before = ()
            self._registry.put(key, dump_measurements((*before, *new)[-KEPT:]), lease=lease)


def _conditions(placement: Placement, card: Card) -> Conditions | None:
    """What a replica's sizes depend on; None where its files are not known."""
    spec, resolved = placement.spec, placement.spec.variant.resolved
    if resolved is None:
        return None
    return Conditions(
        sha256=resolved.sha256,
        engine=spec.engine,
        image=image(spec.engine, card),
        card=card.name,
        total_mib=card.total_mib,
        cards=len(placement.cards),
        simulated=card.simulated,
        flags=spec.variant.flags,
        context=spec.context,
        concurrency=spec.concurrency,
    )


def _whole(size_mib: float | None) -> int | None:
    return None if size_mib is None else round(size_mib)
