"""What the agent knows, as the snapshot shows it."""

from dataclasses import replace
from typing import Protocol

from aivailable.embedded.allocation import Allocation
from aivailable.embedded.job import Job
from aivailable.model.cards import Card, Node
from aivailable.model.replica import Replica, ReplicaState


class Waits(Protocol):
    """What is known of a job besides its allocation."""

    note: str
    lost: bool
    failures: int

    @property
    def index(self) -> int:
        """That of its submission."""


def with_use(node: Node, used: frozenset[str]) -> Node:
    """The node with its cards' free slices counted; on simulated cards what is booked is what is used."""
    return replace(node, cards=tuple(_card_with_use(card, used) for card in node.cards))


def replica_of(job: Job, allocation: Allocation | None, waits: Waits) -> Replica | None:
    """The replica that a job is; None for a job that is no engine (its meta has no `model`)."""
    if "model" not in job.meta:
        return None
    vendors = {ask.name.partition("/")[0] for task in job.tasks for ask in task.devices}
    seen = Replica(
        model=job.meta["model"],
        variant=job.meta.get("variant", ""),
        replica=int(job.meta.get("replica", "0")),
        job=job.id,
        state=ReplicaState.LOST if waits.lost else ReplicaState.PENDING,
        vendor=vendors.pop() if len(vendors) == 1 else "",
        failures=waits.failures,
        engine=job.meta.get("engine", ""),
        replaces=job.meta.get("replaces", ""),
        note=waits.note,
        index=waits.index,
    )
    if allocation is None:
        return seen
    cards = allocation.cards()
    return replace(
        seen,
        state=allocation.state,
        alloc=allocation.id,
        node=allocation.node.name,
        cards=tuple(card.uuid for card, _ in cards),
        claim_mib=tuple(mib for _, mib in cards),
        load_s=allocation.load_s,
        note=allocation.progress(),
    )


def _card_with_use(card: Card, used: frozenset[str]) -> Card:
    taken = sum(slice_id.startswith(f"{card.uuid}/") for slice_id in used)
    used_mib = taken * card.slice_mib if card.simulated else card.used_mib
    return replace(card, free_slices=card.slices - taken, used_mib=used_mib)
