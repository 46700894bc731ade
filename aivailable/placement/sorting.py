"""What the replicas of one model are to the plan: as wanted, waiting for a card, outdated, too many, on the way out."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from aivailable.model.replica import Replica, ReplicaState, hash_of

_WAITING = (ReplicaState.PENDING, ReplicaState.LOST)


@dataclass(slots=True, kw_only=True)
class Sorted:
    """`running` hold a card and are what the fleet asks for; `waiting` are and hold none; `outdated` are not.

    `leaving` stop as soon as their replacements serve, those in `arriving` (by job); `stops` are to stop now, each with
    the reason.
    """

    running: list[Replica] = field(default_factory=list)
    waiting: list[Replica] = field(default_factory=list)
    outdated: list[Replica] = field(default_factory=list)
    leaving: list[Replica] = field(default_factory=list)
    arriving: set[str] = field(default_factory=set)
    stops: list[tuple[Replica, str]] = field(default_factory=list)


def sort_replicas(
    replicas: Iterable[Replica],
    hashes: Collection[str],
    wanted: int,
    forsaken: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
) -> Sorted:
    """Sort the replicas of a model that are not stopping.

    Args:
        replicas: Them.
        hashes: The spec hashes that the fleet asks for.
        wanted: How many the fleet wants.
        forsaken: The jobs that are to be replaced although they are what the fleet asks for, with the reason.
        failed: The spec hashes that do not start, with the reason.
    """
    forsaken, failed = forsaken or {}, failed or {}
    found = Sorted()
    for replica in sorted(replicas, key=lambda r: (r.replica, r.job)):
        if hash_of(replica.job) not in hashes or replica.job in forsaken:
            found.outdated.append(replica)
        elif is_waiting(replica):
            found.waiting.append(replica)
        else:
            found.running.append(replica)
    predecessors = _moves(found)
    _drop_surplus(found, predecessors, wanted)
    _retire(found, wanted, forsaken, failed)
    return found


def is_waiting(replica: Replica) -> bool:
    """Whether a replica holds no card: Nomad has not placed it yet, or its node is lost."""
    given_its_slices = replica.state is ReplicaState.PENDING and bool(replica.cards)
    return replica.state in _WAITING and not given_its_slices


def _moves(found: Sorted) -> dict[str, Replica]:
    """Take out those that are being replaced; gives them by the job that replaces them, if that does not serve yet."""
    running = {replica.job: replica for replica in found.running}
    predecessors: dict[str, Replica] = {}
    for replica in (*found.running, *found.waiting):
        old = running.get(replica.replaces) if replica.replaces != replica.job else None
        if old is None or old not in found.running:
            continue
        found.running.remove(old)
        if replica.state is ReplicaState.SERVING:
            found.stops.append((old, f"its replacement on {replica.node} serves"))
        else:
            predecessors[replica.job] = old
            found.arriving.add(replica.job)
            found.leaving.append(old)
    return predecessors


def _drop_surplus(found: Sorted, predecessors: dict[str, Replica], wanted: int) -> None:
    """Stop what is more than wanted: those that do not serve first, then the highest numbers."""
    worst_first = sorted(found.running, key=lambda r: (r.state == ReplicaState.SERVING, -r.replica))
    surplus = worst_first[: max(0, len(found.running) - wanted)]
    while found.waiting and len(found.running) - len(surplus) + len(found.waiting) > wanted:
        surplus.append(found.waiting.pop())
    for replica in surplus:
        if replica in found.running:
            found.running.remove(replica)
        found.stops.append((replica, f"the fleet wants {wanted}"))
        if old := predecessors.get(replica.job):
            found.leaving.remove(old)
            found.stops.append((old, f"the fleet wants {wanted}"))


def _retire(found: Sorted, wanted: int, forsaken: Mapping[str, str], failed: Mapping[str, str]) -> None:
    """Stop outdated replicas as soon as enough new ones serve; at once, those of another spec that do not serve."""
    serving = sum(r.state is ReplicaState.SERVING for r in found.running)
    useful = [r for r in found.outdated if r.state is ReplicaState.SERVING]
    idle = [r for r in found.outdated if r.state is not ReplicaState.SERVING]
    # One that is forsaken may serve again before its successor does.
    hopeful = [r for r in idle if r.job in forsaken and serving < wanted]
    for replica in idle:
        if replica not in hopeful:
            why = failed.get(hash_of(replica.job), "its spec changed")
            if replica.job in forsaken:
                why = f"{forsaken[replica.job]}, and its model serves without it"
            found.stops.append((replica, why))
    enough = max(0, serving + len(useful) - wanted)
    for replica in useful[:enough]:
        why = forsaken.get(replica.job, "its spec changed")
        found.stops.append((replica, f"{why} and its replacement serves"))
    found.outdated = useful[enough:] + hopeful
