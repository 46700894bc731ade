"""The controller: looks at everything, plans, applies; on change notices and on a slow tick.

Level-triggered: a notice only wakes the loop, what it does follows from the state alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aivailable.controller.apply import Outcome, apply, model_of
from aivailable.controller.backoff import Backoff
from aivailable.controller.fleetstore import FleetReader
from aivailable.controller.isolating import Planned, plan_each
from aivailable.controller.journal import Decision, record
from aivailable.controller.leading import Fitness
from aivailable.controller.measuring import Measurer
from aivailable.controller.observe import Observer
from aivailable.controller.patience import Patience
from aivailable.controller.verdicts import Verdicts, with_failures
from aivailable.errors import AivailableError, RetryableError
from aivailable.model.failure import Failure
from aivailable.model.fleet import Fleet
from aivailable.model.plan import Plan, Stop, Unplaced
from aivailable.model.replica import Replica
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY, LEADER_KEY
from aivailable.model.snapshot import Snapshot
from aivailable.placement import Planner, gone_back, in_force
from aivailable.seams import Cluster, Lease, Registry
from aivailable.settings import Settings
from aivailable.watching import WATCH_TIMEOUT_S, Changed, watching

LEAST_PAUSE_S = 0.2
"""Between two looks that nothing announced."""
PATIENCE_TICKS = 3
"""For how many ticks a leader that cannot reach the cluster goes on trying before it leaves the lock to another."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One round of the loop, for whoever counts. `at_s` is when it saw, `plan_s` what planning took, in seconds."""

    at_s: float
    snapshot: Snapshot
    plan: Plan
    outcomes: tuple[Outcome, ...]
    plan_s: float


class Watcher(Protocol):
    """Is told what the controller does; metrics are one."""

    def stepped(self, step: Step) -> None:
        """A round has ended."""

    def leads(self, *, leading: bool) -> None:
        """This controller leads now, or leads no longer."""


class Nobody:
    """A watcher that does not look."""

    def stepped(self, step: Step) -> None:
        """A round has ended."""

    def leads(self, *, leading: bool) -> None:
        """This controller leads now, or leads no longer."""


class Controller:
    """Observe, plan, apply for one cluster. `in_use` asks the drivers for the MiB in use by card."""

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        settings: Settings,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        watcher: Watcher | None = None,
        in_use: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._watcher = watcher or Nobody()
        self._planner = Planner()
        self._fleet = FleetReader(registry)
        self._observer = Observer(cluster, registry)
        self._measurer = Measurer(cluster, registry, now, in_use)
        self._cluster = cluster
        self._registry = registry
        self._settings = settings
        self._now = now
        self._clock = clock
        self._fitness = Fitness(cluster.snapshot, PATIENCE_TICKS * settings.tick_s)
        self._told: set[tuple[str, int, str]] = set()
        self._verdicts = Verdicts(cluster, registry, now)
        self._made: Plan | None = None
        self._backoff = Backoff(clock)
        self._patience = _patience(settings, clock)

    def step(self, lease: Lease | None = None) -> Plan:
        """Once: observe, plan, apply, remember; under a lease only as long as it is held.

        Returns:
            The plan that was applied.

        Raises:
            AivailableError: A store could not be read or written.
        """
        stored = self._fleet.read()
        snapshot = self._patience.look(self._observer.look())
        failed = self._verdicts.look(stored.fleet, snapshot, lease)
        snapshot = with_failures(snapshot, failed)
        begun = time.perf_counter()
        planned = plan_each(self._planner, stored.fleet, snapshot, self._made)
        made = self._made = planned.plan
        plan_s = time.perf_counter() - begun
        leading = lease.held if lease else lambda: True
        self._backoff.forget(spec.name for spec in stored.fleet.models)
        outcomes = apply(
            made, self._cluster, self._settings, ended=snapshot.ended, leading=leading, may=self._backoff.may
        )
        self._backoff.learn(outcomes)
        overdrawn = self._measurer.look(snapshot, made, lease)
        told = [*self._given_up(failed, stored.fleet, snapshot), *map(self._decision, outcomes)]
        told += [*self._unplaced(made), *self._overdrawn(overdrawn), *self._broken(planned)]
        record(self._registry, self._fresh(told), lease=lease)
        self._watcher.stepped(Step(at_s=begun, snapshot=snapshot, plan=made, outcomes=outcomes, plan_s=plan_s))
        return made

    def run(self, stop: threading.Event) -> None:
        """Lead while the lock is held and the cluster can be reached, until `stop` is set."""
        sources: dict[str, Changed] = {
            "cluster": self._cluster.changed,
            "fleet": partial(self._registry.key_changed, FLEET_KEY),
            "health": partial(self._registry.services_changed, ENGINE_SERVICE),
        }
        with watching(sources, stop) as wake:
            while not stop.is_set():
                if not self._fitness.fit():
                    stop.wait(WATCH_TIMEOUT_S)
                    continue
                try:
                    with self._registry.lock(LEADER_KEY, timeout_s=WATCH_TIMEOUT_S) as lease:
                        if lease.held():
                            self._lead(lease, stop, wake)
                except AivailableError as error:
                    _log.warning("the lock cannot be had now: %s", error)
                    stop.wait(WATCH_TIMEOUT_S)

    def _lead(self, lease: Lease, stop: threading.Event, wake: threading.Event) -> None:
        """Lead as long as the lease is held. Who comes to lead goes by what it sees, nothing is handed over."""
        _log.info("leading")
        self._watcher.leads(leading=True)
        self._begin_anew()
        self._fitness.begins()
        while not stop.is_set() and lease.held() and not self._fitness.unfit:
            wake.clear()
            try:
                self.step(lease)
                self._fitness.worked()
            except AivailableError as error:
                _log.warning("the loop goes on after: %s", error)
                self._fitness.failed(error)
            except Exception:  # noqa: BLE001 - the reason follows
                # The loop's edge: an error of ours in one round must not end the repair of everything else.
                _log.exception("the loop goes on after an error that should not happen")
            wake.wait(0 if self._fitness.unfit else self._pause_s())
        self._watcher.leads(leading=False)
        _log.info("leading no longer")

    def _begin_anew(self) -> None:
        """Forget what only the one who led until now could know."""
        self._told, self._made = set(), None
        self._backoff, self._patience = Backoff(self._clock), _patience(self._settings, self._clock)

    def _pause_s(self) -> float:
        """How long to wait for a notice before the next look, in seconds."""
        due = (self._settings.tick_s, self._backoff.due_in_s(), self._patience.due_in_s())
        return max(LEAST_PAUSE_S, min(s for s in due if s is not None))

    def _decision(self, outcome: Outcome) -> Decision:
        action, error = outcome.action, outcome.error
        replica = action.replica if isinstance(action, Stop) else action.placement
        text = outcome.text if error is None else f"could not {outcome.text}: {error.message}"
        refused = error is not None and not isinstance(error, RetryableError)
        return Decision(at_s=self._now(), model=model_of(action), replica=replica.replica, text=text, refused=refused)

    def _given_up(self, failed: Iterable[Failure], fleet: Fleet, snapshot: Snapshot) -> Iterator[Decision]:
        force = in_force(fleet, snapshot.failed)
        back = gone_back(fleet, snapshot.failed)
        for failure in failed:
            now = force.model(failure.model)
            goes_on = "nothing else of it can run"
            if now is not None and now.variants:
                other = f"{now.variants[0].source} instead"
                goes_on = "back to the version before" if failure.model in back else other
            text = f"{failure.variant} does not start: {failure.reason}; {goes_on}"
            yield Decision(at_s=failure.at_s, model=failure.model, replica=0, text=text)

    def _broken(self, planned: Planned) -> Iterator[Decision]:
        for model, error in planned.broken:
            text = f"cannot be planned, and is left as it is: {error}"
            yield Decision(at_s=self._now(), model=model, replica=0, text=text, refused=True)

    def _unplaced(self, made: Plan) -> list[Decision]:
        return [
            Decision(
                at_s=self._now(),
                model=unplaced.model,
                replica=unplaced.replica,
                text=_not_placed(unplaced),
            )
            for unplaced in made.unplaced
        ]

    def _overdrawn(self, found: Iterable[tuple[Replica, int]]) -> list[Decision]:
        return [
            Decision(
                at_s=self._now(),
                model=replica.model,
                replica=replica.replica,
                text=f"holds {held_mib} MiB of {replica.node}'s card, booked {replica.claim_mib[0]}",
            )
            for replica, held_mib in found
        ]

    def _fresh(self, told: list[Decision]) -> list[Decision]:
        """What was not told in the round before: a round may meet the same refusals, or be quicker than the cluster."""
        fresh = [decision for decision in told if (decision.model, decision.replica, decision.text) not in self._told]
        self._told = {(decision.model, decision.replica, decision.text) for decision in told}
        return fresh


def _patience(settings: Settings, clock: Callable[[], float]) -> Patience:
    return Patience(unhealthy_s=settings.unhealthy_s, loading_s=settings.loading_s, clock=clock)


def _not_placed(unplaced: Unplaced) -> str:
    others = f", nor {unplaced.count - 1} more" if unplaced.count > 1 else ""
    return f"not placed{others}: " + "; ".join(reason.text for reason in unplaced.reasons)
