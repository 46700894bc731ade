"""The controller: looks at everything, plans, applies; on change notices and on a slow tick.

Level-triggered: a notice only wakes the loop, what it does follows from the state alone.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from aivailable.controller.apply import Outcome, apply
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.journal import Decision, record
from aivailable.controller.observe import observe
from aivailable.errors import AivailableError
from aivailable.model.plan import Plan, Stop
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY, LEADER_KEY
from aivailable.placement import plan
from aivailable.seams import Cluster, Registry
from aivailable.settings import Settings
from aivailable.watching import WATCH_TIMEOUT_S, Changed, watching

_log = logging.getLogger(__name__)


class Controller:
    """Observe, plan, apply for one cluster."""

    def __init__(
        self, cluster: Cluster, registry: Registry, settings: Settings, *, now: Callable[[], float] = time.time
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._settings = settings
        self._now = now
        self._told: dict[tuple[str, int], str] = {}

    def step(self) -> Plan:
        """Once: observe, plan, apply, remember.

        Returns:
            The plan that was applied.

        Raises:
            AivailableError: A store could not be read or written.
        """
        stored = read_fleet(self._registry)
        made = plan(stored.fleet, observe(self._cluster, self._registry))
        outcomes = apply(made, self._cluster, self._settings)
        record(self._registry, [*map(self._decision, outcomes), *self._refusals(made)])
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
                with self._registry.lock(LEADER_KEY, timeout_s=WATCH_TIMEOUT_S) as leading:
                    if leading:
                        self._lead(stop, wake)

    def _lead(self, stop: threading.Event, wake: threading.Event) -> None:
        while not stop.is_set():
            wake.clear()
            try:
                self.step()
            except AivailableError as error:
                _log.warning("the loop goes on after: %s", error)
            except Exception:  # noqa: BLE001 - the reason follows
                # The loop's edge: an error of ours in one round must not end the repair of everything else.
                _log.exception("the loop goes on after an error that should not happen")
            wake.wait(self._settings.tick_s)

    def _decision(self, outcome: Outcome) -> Decision:
        action = outcome.action
        replica = action.replica if isinstance(action, Stop) else action.placement
        model = action.replica.model if isinstance(action, Stop) else action.placement.spec.model
        text = outcome.text if outcome.error is None else f"could not {outcome.text}: {outcome.error.message}"
        return Decision(at_s=self._now(), model=model, replica=replica.replica, text=text)

    def _refusals(self, made: Plan) -> list[Decision]:
        """What is not placed, told once and again only when the reason changes."""
        now_told: dict[tuple[str, int], str] = {}
        fresh: list[Decision] = []
        for unplaced in made.unplaced:
            text = "not placed: " + "; ".join(reason.text for reason in unplaced.reasons)
            now_told[unplaced.model, unplaced.replica] = text
            if self._told.get((unplaced.model, unplaced.replica)) != text:
                fresh.append(Decision(at_s=self._now(), model=unplaced.model, replica=unplaced.replica, text=text))
        self._told = now_told
        return fresh
