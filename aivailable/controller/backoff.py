"""How long to leave a model alone after the cluster refused what was asked for it; the other models go on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aivailable.controller.apply import Outcome, model_of
from aivailable.model.plan import Action, Stop

FIRST_S = 1.0
MAX_S = 60.0


@dataclass(slots=True)
class _Wait:
    """After `count` refusals of the job `job` in a row: not before `until_s`."""

    job: str
    count: int
    until_s: float


class Backoff:
    """One wait per model: a second after the first refusal, then twice as long each time, at most a minute.

    What a model has to stop is never held back, and a start that was not refused before is tried at once: a model that
    was corrected does not wait for what was wrong.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waits: dict[str, _Wait] = {}

    def may(self, action: Action) -> bool:
        """Whether an action may be tried now."""
        wait = self._waits.get(model_of(action))
        if wait is None or isinstance(action, Stop):
            return True
        return action.placement.job_id != wait.job or self._clock() >= wait.until_s

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Wait for what was refused; what was taken clears its model."""
        for outcome in outcomes:
            if isinstance(outcome.action, Stop):
                continue
            model, job = model_of(outcome.action), outcome.action.placement.job_id
            if outcome.error is None:
                self._waits.pop(model, None)
                continue
            known = self._waits.get(model)
            count = known.count + 1 if known is not None and known.job == job else 1
            until_s = self._clock() + min(MAX_S, FIRST_S * 2 ** min(count - 1, 16))
            self._waits[model] = _Wait(job, count, until_s)

    def forget(self, models: Iterable[str]) -> None:
        """Keep only these models."""
        wanted = set(models)
        self._waits = {model: wait for model, wait in self._waits.items() if model in wanted}

    def due_in_s(self) -> float | None:
        """Seconds until the next model may be tried again; None: none waits."""
        now_s = self._clock()
        left = (wait.until_s - now_s for wait in self._waits.values())
        return min((s for s in left if s > 0), default=None)
