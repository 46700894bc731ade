"""Everything observed at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aivailable.model.cards import Card, Node
from aivailable.model.failure import Failure
from aivailable.model.measurement import Measurement
from aivailable.model.replica import Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Nodes with cards and free slices, replicas with their state, what engines were seen to hold, what failed.

    `ended`: jobs that were stopped and that the cluster remembers, with the index of their registration.
    """

    nodes: tuple[Node, ...] = ()
    replicas: tuple[Replica, ...] = ()
    measured: tuple[Measurement, ...] = ()
    failed: tuple[Failure, ...] = ()
    ended: Mapping[str, int] = field(default_factory=dict)

    def node(self, name: str) -> Node | None:
        """The node of that name, or None."""
        return next((n for n in self.nodes if n.name == name), None)

    def card(self, uuid: str) -> Card | None:
        """The card of that uuid, or None."""
        return next((c for n in self.nodes for c in n.cards if c.uuid == uuid), None)

    @property
    def simulated(self) -> bool:
        """Whether any card comes from a file; every surface then says so."""
        return any(c.simulated for n in self.nodes for c in n.cards)
