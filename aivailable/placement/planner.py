"""`plan(fleet, snapshot)`, and a planner that plans again and again without working out anew what did not change."""

from dataclasses import replace

from aivailable.model.failure import Failure
from aivailable.model.fleet import EMPTY_FLEET, Fleet, ModelSpec
from aivailable.model.measurement import Measurement
from aivailable.model.plan import Plan, Reason, Unplaced
from aivailable.model.snapshot import Snapshot
from aivailable.placement.following import still_open
from aivailable.placement.judge import Judge, VramJudge
from aivailable.placement.kinds import Kinds
from aivailable.placement.options import Options
from aivailable.placement.rack import KnownNode, Rack
from aivailable.placement.run import Kept, Run
from aivailable.placement.versions import given_up, in_force

FAILED = "failed"
"""The rule of a model all of whose variants do not start."""

RETRIES = 4
"""Plans made anew where one could only be carried out by interrupting a model that may not be."""


def plan(fleet: Fleet, snapshot: Snapshot, before: Plan | None = None) -> Plan:
    """Decide what runs where.

    Args:
        fleet: The desired state; variants must be resolved to be placed.
        snapshot: What is observed now.
        before: The plan that is being carried out: it is followed to its end as long as that can be done.

    Returns:
        Placements of all replicas that shall run, ordered actions, and the reasons for what is not placed. Planning
        again after the actions were carried out gives no action.
    """
    return Planner().plan(fleet, snapshot, before)


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
        self._deployed: tuple[Fleet, tuple[Failure, ...]] = (EMPTY_FLEET, ())
        self._fleet = EMPTY_FLEET

    def plan(self, fleet: Fleet, snapshot: Snapshot, before: Plan | None = None) -> Plan:
        """See `plan`."""
        deployed, fleet = fleet, self._in_force(fleet, snapshot.failed)
        if snapshot.measured != self._measured and not self._own_judge:
            # What was worked out with other sizes does not hold any more.
            self._judge, self._measured = VramJudge(snapshot.measured), snapshot.measured
            self._options, self.kept = {}, {}
        if (fleet.mesh, fleet.driver) != self._common:
            self._common, self.kept = (fleet.mesh, fleet.driver), {}
        begun = Run(self, fleet, snapshot)
        intended = still_open(before.intended, snapshot.replicas) if before else ()
        if intended and not begun.follow(intended):
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
        return _with_failures(made, deployed, fleet, snapshot.failed) if snapshot.failed else made

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

    def _in_force(self, fleet: Fleet, failed: tuple[Failure, ...]) -> Fleet:
        """See `in_force`; the same object as long as both are."""
        if self._deployed[0] is not fleet or self._deployed[1] != failed:
            self._deployed, self._fleet = (fleet, failed), in_force(fleet, failed)
        return self._fleet

    def _forget(self, fleet: Fleet, snapshot: Snapshot) -> None:
        """Let go of what was not met in this plan, when it has become more than what was."""
        if len(self._nodes) > 2 * len(snapshot.nodes):
            self._nodes = {id(n): self._nodes[id(n)] for n in snapshot.nodes if id(n) in self._nodes}
        if len(self._options) > 2 * len(fleet.models):
            self._options = {id(m): self._options[id(m)] for m in fleet.models if id(m) in self._options}


def _with_failures(made: Plan, deployed: Fleet, fleet: Fleet, failed: tuple[Failure, ...]) -> Plan:
    """The plan with the reason for models of which nothing can be started."""
    lost = given_up(deployed, failed)
    without = {spec.name for spec in fleet.models if not spec.variants}

    def told(unplaced: Unplaced) -> Unplaced:
        if unplaced.model not in without:
            return unplaced
        reasons = (Reason(rule=FAILED, count=0, text=f"{f.variant}: {f.reason}") for f in lost[unplaced.model])
        return replace(unplaced, reasons=(*reasons, *unplaced.reasons), would_help=("`aivailable deploy … --retry`",))

    return replace(made, unplaced=tuple(map(told, made.unplaced)))
