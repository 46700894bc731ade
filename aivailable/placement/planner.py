"""`plan(fleet, snapshot)`, and a planner that plans again and again without working out anew what did not change."""

from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.measurement import Measurement
from aivailable.model.plan import Plan
from aivailable.model.snapshot import Snapshot
from aivailable.placement.judge import Judge, VramJudge
from aivailable.placement.kinds import Kinds
from aivailable.placement.options import Options
from aivailable.placement.rack import KnownNode, Rack
from aivailable.placement.run import Kept, Run

RETRIES = 4
"""Plans made anew where one could only be carried out by interrupting a model that may not be."""


def plan(fleet: Fleet, snapshot: Snapshot) -> Plan:
    """Decide what runs where.

    Args:
        fleet: The desired state; variants must be resolved to be placed.
        snapshot: What is observed now.

    Returns:
        Placements of all replicas that shall run, ordered actions, and the reasons for what is not placed. Planning
        again after the actions were carried out gives no action.
    """
    return Planner().plan(fleet, snapshot)


class Planner:
    """What it worked out of a model, a node or a replica it uses again as long as that object is the same one.

    Its plans are those that `plan` makes; only the time they take differs. `kept` are the replicas found running as
    wanted in the last plan, by `id`.
    """

    def __init__(self, judge: Judge | None = None) -> None:
        self._judge = judge or VramJudge()
        self._own_judge = judge is not None
        self._measured: tuple[Measurement, ...] = ()
        self._kinds = Kinds()
        self._options: dict[int, Options] = {}
        self._nodes: dict[int, KnownNode] = {}
        self.kept: dict[int, Kept] = {}
        self._common: tuple[str | None, str | None] = (None, None)

    def plan(self, fleet: Fleet, snapshot: Snapshot) -> Plan:
        """See `plan`."""
        if snapshot.measured != self._measured and not self._own_judge:
            # What was worked out with other sizes does not hold any more.
            self._judge, self._measured = VramJudge(snapshot.measured), snapshot.measured
            self._options, self.kept = {}, {}
        if (fleet.mesh, fleet.driver) != self._common:
            self._common, self.kept = (fleet.mesh, fleet.driver), {}
        begun = Run(self, fleet, snapshot)
        made = begun.plan()
        pinned: frozenset[str] = frozenset()
        for _ in range(RETRIES):
            if not begun.stuck:
                break
            pinned |= begun.stuck
            begun = Run(self, fleet, snapshot, pinned)
            made = begun.plan()
        self.kept = begun.kept
        self._forget(fleet, snapshot)
        return made

    def options(self, fleet: Fleet, spec: ModelSpec) -> Options:
        """The options of a model, for all kinds of cards known."""
        options = self._options.get(id(spec))
        if options is None or options.spec is not spec or options.common != (fleet.mesh, fleet.driver):
            options = self._options[id(spec)] = Options(fleet, spec, self._judge, self._kinds)
        options.learn()
        return options

    def rack(self, snapshot: Snapshot) -> Rack:
        """The cards of a snapshot."""
        return Rack(snapshot, self._kinds, self._nodes)

    def _forget(self, fleet: Fleet, snapshot: Snapshot) -> None:
        """Let go of what was not met in this plan, when it has become more than what was."""
        if len(self._nodes) > 2 * len(snapshot.nodes):
            self._nodes = {id(n): self._nodes[id(n)] for n in snapshot.nodes if id(n) in self._nodes}
        if len(self._options) > 2 * len(fleet.models):
            self._options = {id(m): self._options[id(m)] for m in fleet.models if id(m) in self._options}
