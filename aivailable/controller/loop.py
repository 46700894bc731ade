"""The controller: looks at everything, plans, applies; on change notices and on a slow tick.

Level-triggered: a notice only wakes the loop, what it does follows from the state alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from aivailable.controller.apply import Outcome, apply
from aivailable.controller.fleetstore import FleetReader
from aivailable.controller.journal import Decision, record
from aivailable.controller.measuring import Measurer
from aivailable.controller.observe import Observer
from aivailable.errors import AivailableError, RetryableError
from aivailable.model.plan import Plan, Stop, Unplaced
from aivailable.model.replica import Replica
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY, LEADER_KEY
from aivailable.model.snapshot import Snapshot
from aivailable.placement import Planner
from aivailable.seams import Cluster, Lease, Registry
from aivailable.settings import Settings
from aivailable.watching import WATCH_TIMEOUT_S, Changed, watching

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
        self._told: set[tuple[str, int, str]] = set()

    def step(self, lease: Lease | None = None) -> Plan:
        """Once: observe, plan, apply, remember; under a lease only as long as it is held.

        Returns:
            The plan that was applied.

        Raises:
            AivailableError: A store could not be read or written.
        """
        stored = self._fleet.read()
        snapshot = self._observer.look()
        begun = time.perf_counter()
        made = self._planner.plan(stored.fleet, snapshot)
        plan_s = time.perf_counter() - begun
        leading = lease.held if lease else lambda: True
        outcomes = apply(made, self._cluster, self._settings, leading=leading)
        overdrawn = self._measurer.look(snapshot, made, lease)
        told = [*map(self._decision, outcomes), *self._unplaced(made), *self._overdrawn(overdrawn)]
        record(self._registry, self._fresh(told), lease=lease)
        self._watcher.stepped(Step(at_s=begun, snapshot=snapshot, plan=made, outcomes=outcomes, plan_s=plan_s))
        return made

    def run(self, stop: threading.Event) -> None:
        """Lead while the lock is held, until `stop` is set."""
        sources: dict[str, Changed] = {
            "cluster": self._cluster.changed,
            "fleet": partial(self._registry.key_changed, FLEET_KEY),
            "health": partial(self._registry.services_changed, ENGINE_SERVICE),
        }
        with watching(sources, stop) as wake:
            while not stop.is_set():
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
        self._told = set()
        while not stop.is_set() and lease.held():
            wake.clear()
            try:
                self.step(lease)
            except AivailableError as error:
                _log.warning("the loop goes on after: %s", error)
            except Exception:  # noqa: BLE001 - the reason follows
                # The loop's edge: an error of ours in one round must not end the repair of everything else.
                _log.exception("the loop goes on after an error that should not happen")
            wake.wait(self._settings.tick_s)
        self._watcher.leads(leading=False)
        _log.info("leading no longer")

    def _decision(self, outcome: Outcome) -> Decision:
        action, error = outcome.action, outcome.error
        replica = action.replica if isinstance(action, Stop) else action.placement
        model = action.replica.model if isinstance(action, Stop) else action.placement.spec.model
        text = outcome.text if error is None else f"could not {outcome.text}: {error.message}"
        refused = error is not None and not isinstance(error, RetryableError)
        return Decision(at_s=self._now(), model=model, replica=replica.replica, text=text, refused=refused)

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


def _not_placed(unplaced: Unplaced) -> str:
    others = f", nor {unplaced.count - 1} more" if unplaced.count > 1 else ""
    return f"not placed{others}: " + "; ".join(reason.text for reason in unplaced.reasons)
