"""What only a clock can tell: engines that hang, and starts that take too long.

Nomad leaves a task alone whose health check fails, as long as its process lives. The clock is that of the controller
that leads: who comes to lead begins to count anew.
"""

from collections.abc import Callable
from dataclasses import replace

from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot

_WATCHED = (ReplicaState.UNHEALTHY, ReplicaState.LOADING)


class Patience:
    """Marks replicas that were unhealthy, or loading, for longer than they may be; limits in seconds."""

    def __init__(self, *, unhealthy_s: float, loading_s: float, clock: Callable[[], float]) -> None:
        self._limits_s = {ReplicaState.UNHEALTHY: unhealthy_s, ReplicaState.LOADING: loading_s}
        self._clock = clock
        self._since_s: dict[tuple[str, ReplicaState], float] = {}

    def look(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with those marked (`Replica.forsaken`); the same one where there are none.

        Where Consul hears from less than half of the nodes that Nomad hears from, it is cut off, and not they.
        """
        now_s = self._clock()
        watched = [r for r in snapshot.replicas if r.alloc and r.state in _WATCHED]
        keys = {(r.alloc, r.state) for r in watched}
        self._since_s = {key: self._since_s.get(key, now_s) for key in keys}
        return _trusting(self._marked(snapshot, watched, now_s))

    def due_in_s(self) -> float | None:
        """Seconds until the next replica has been unhealthy, or loading, for too long; None: none is."""
        now_s = self._clock()
        left = [since_s + self._limits_s[state] - now_s for (_, state), since_s in self._since_s.items()]
        return min((s for s in left if s > 0), default=None)

    def _marked(self, snapshot: Snapshot, watched: list[Replica], now_s: float) -> Snapshot:
        marks: dict[str, str] = {}
        for replica in watched:
            limit_s = self._limits_s[replica.state]
            if now_s - self._since_s[replica.alloc, replica.state] >= limit_s:
                hangs = replica.state is ReplicaState.UNHEALTHY
                marks[replica.job] = f"it {'is unhealthy for' if hangs else 'does not serve after'} {limit_s:.0f} s"
        if not marks:
            return snapshot
        return replace(
            snapshot,
            replicas=tuple(replace(r, forsaken=marks[r.job]) if r.job in marks else r for r in snapshot.replicas),
        )


def _trusting(snapshot: Snapshot) -> Snapshot:
    """The snapshot as it is, unless Consul misses more than half of the nodes that Nomad hears from."""
    ready = [node for node in snapshot.nodes if node.ready]
    silent = sum(node.silent for node in ready)
    if not silent or 2 * silent <= len(ready):
        return snapshot
    return replace(snapshot, nodes=tuple(replace(node, silent=False) for node in snapshot.nodes))
