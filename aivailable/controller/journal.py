"""The recent decisions, kept small in the key-value store for `status`, `events` and the page."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from aivailable.model.service import EVENTS_KEY
from aivailable.seams import Lease, Registry

SIZE_MAX_BYTES = 256 * 1024
"""Consul refuses values over 512 KiB; half of that leaves room and is still days of decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One thing the controller did or could not do. `at_s` is Unix time.

    `refused`: the cluster refuses the replica's job, and will again until something is changed.
    """

    at_s: float
    model: str
    replica: int
    text: str
    refused: bool = False


def read_decisions(registry: Registry) -> tuple[Decision, ...]:
    """The recent decisions, oldest first."""
    entry = registry.get(EVENTS_KEY)
    return tuple(Decision(**document) for document in json.loads(entry.value)) if entry else ()


def record(registry: Registry, decisions: Sequence[Decision], *, lease: Lease | None = None) -> None:
    """Append decisions, dropping the oldest beyond the size limit. Only the leader writes, as long as it leads."""
    if not decisions:
        return
    documents = [asdict(decision) for decision in (*read_decisions(registry), *decisions)]
    while len(value := json.dumps(documents).encode()) > SIZE_MAX_BYTES:
        documents = documents[len(documents) // 10 + 1 :]
    registry.put(EVENTS_KEY, value, lease=lease)
