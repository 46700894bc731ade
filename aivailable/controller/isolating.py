"""Plans although one model makes the planner fail: that model is left as it is, and told."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace

from aivailable.model.fleet import Fleet
from aivailable.model.plan import Plan
from aivailable.model.snapshot import Snapshot
from aivailable.placement import Planner

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and the models that it leaves alone because planning them fails, with the error."""

    plan: Plan
    broken: tuple[tuple[str, str], ...] = ()


def plan_each(planner: Planner, fleet: Fleet, snapshot: Snapshot, before: Plan | None) -> Planned:
    """The plan; where that fails, the plan without the models that alone make it fail.

    Their replicas are kept out of sight with their slices taken, so that nothing is done to them.

    Raises:
        Exception: No single model is to blame.
    """
    made = _tried(planner, fleet, snapshot, before)
    if isinstance(made, Plan):
        return Planned(plan=made)
    _log.error("planning fails; looking for the model that makes it", exc_info=made)
    broken: dict[str, str] = {}
    for spec in fleet.models:
        alone = _tried(Planner(), replace(fleet, models=(spec,)), _of(snapshot, {spec.name}))
        if not isinstance(alone, Plan):
            broken[spec.name] = repr(alone)
    if not broken:
        raise made
    rest = tuple(spec for spec in fleet.models if spec.name not in broken)
    others = {replica.model for replica in snapshot.replicas} - broken.keys()
    return Planned(
        plan=Planner().plan(replace(fleet, models=rest), _of(snapshot, others)), broken=tuple(broken.items())
    )


def _of(snapshot: Snapshot, models: Collection[str]) -> Snapshot:
    return replace(snapshot, replicas=tuple(r for r in snapshot.replicas if r.model in models))


def _tried(planner: Planner, fleet: Fleet, snapshot: Snapshot, before: Plan | None = None) -> Plan | Exception:
    """A plan, or why there is none."""
    try:
        return planner.plan(fleet, snapshot, before)
    except Exception as error:  # noqa: BLE001 - an error of ours about one model must not end the repair of all others
        return error
