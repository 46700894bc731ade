"""Plans although one model makes the planner fail: that model is left as it is, and told."""

import logging
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
    try:
        return Planned(plan=planner.plan(fleet, snapshot, before))
    except Exception as error:
        # The loop's edge: an error of ours about one model must not end the repair of all others.
        _log.exception("planning fails; looking for the model that makes it")
        broken = tuple((spec.name, why) for spec in fleet.models if (why := _why_broken(fleet, snapshot, spec.name)))
        if not broken:
            raise error from None
        names = {name for name, _ in broken}
        rest = replace(fleet, models=tuple(spec for spec in fleet.models if spec.name not in names))
        seen = replace(snapshot, replicas=tuple(r for r in snapshot.replicas if r.model not in names))
        return Planned(plan=Planner().plan(rest, seen), broken=broken)


def _why_broken(fleet: Fleet, snapshot: Snapshot, name: str) -> str:
    alone = replace(fleet, models=tuple(spec for spec in fleet.models if spec.name == name))
    seen = replace(snapshot, replicas=tuple(r for r in snapshot.replicas if r.model == name))
    try:
        Planner().plan(alone, seen)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return repr(error)
    return ""
