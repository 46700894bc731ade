"""Carries out the actions of a plan, in their order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aivailable.errors import AivailableError
from aivailable.model.plan import Action, Move, Plan, Stop
from aivailable.rendering import render
from aivailable.seams import Cluster
from aivailable.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one action; `error` is None when the cluster took it."""

    action: Action
    text: str
    error: AivailableError | None = None


def apply(
    plan: Plan,
    cluster: Cluster,
    settings: Settings,
    *,
    ended: Mapping[str, int] | None = None,
    leading: Callable[[], bool] = lambda: True,
    may: Callable[[Action], bool] = lambda _: True,
) -> tuple[Outcome, ...]:
    """Submit what starts and stop what stops, in order; one refused action does not keep the others back.

    `ended` is that of the snapshot that was planned for. `leading` is asked before each action: who leads no longer
    leaves the rest to the one who does. What `may` not be tried now is left for later.

    The first half of a move is its start: the next plan stops the old replica when the new one serves. What waits for
    another job to end is left to the plan that is made when it has. Applying the same plan twice, or long after it was
    made, is harmless: a job that exists is left as it is, one stopped since is not started again, one registered anew
    since is not stopped.
    """
    ready = (action for action in plan.actions if not action.waits_for and may(action))
    return tuple(_carry_out(action, cluster, settings, ended) for action in ready if leading())


def _carry_out(action: Action, cluster: Cluster, settings: Settings, ended: Mapping[str, int] | None) -> Outcome:
    text = describe(action)
    try:
        if isinstance(action, Stop):
            cluster.stop(action.replica.job, index=action.replica.index or None)
        else:
            job = render(action.placement, settings)
            cluster.submit(job.id, job.text, index=None if ended is None else ended.get(job.id, 0))
    except AivailableError as error:
        return Outcome(action=action, text=text, error=error)
    return Outcome(action=action, text=text)


def model_of(action: Action) -> str:
    """The model that an action is about."""
    return action.replica.model if isinstance(action, Stop) else action.placement.spec.model


def describe(action: Action) -> str:
    """The action as a sentence."""
    then = f", after {', '.join(action.waits_for)}" if action.waits_for else ""
    if isinstance(action, Stop):
        place = f" on {action.replica.node}" if action.replica.node else ""
        return f"stop replica {action.replica.replica}{place}{then}: {action.why}"
    placement = action.placement
    size = f"{sum(placement.claim_mib)} MiB, {placement.spec.engine}"
    if isinstance(action, Move):
        renumbered = f" as {placement.replica}" if placement.replica != action.replica.replica else ""
        moved = f"move replica {action.replica.replica} from {action.replica.node} to {placement.node}{renumbered}"
        return f"{moved} ({size}){then}: {action.why}"
    return f"start replica {placement.replica} on {placement.node} ({size}){then}: {action.why}"
