"""The feeder: watches fleet, instances and keys, and publishes Envoy's files. Needs no controller."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aivailable.documents import load_fleet
from aivailable.errors import AivailableError
from aivailable.gateway.meter import Meter
from aivailable.gateway.policies import Policies, Resource
from aivailable.gateway.publishing import Publisher, files
from aivailable.gateway.tls import certificate
from aivailable.keystore import read_keys
from aivailable.model.fleet import Fleet
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY, GATEWAY_SERVICE, ApiKey, Instance
from aivailable.seams import Registry, Secrets
from aivailable.settings import Settings, shipped
from aivailable.watching import Changed, watching

FIRST_RETRY_S = 1.0
METER_S = 1.0
"""How often Envoy's counters are read: a key that is over budget, or has expired, is refused within two seconds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What the stores said last."""

    fleet: Fleet
    keys: tuple[ApiKey, ...]
    instances: tuple[Instance, ...]
    gateways: int
    tls: Resource | None


class Feeder:
    """Keeps the gateway's files equal to what the stores say; what cannot be read leaves the last good files.

    `name` tells this gateway's usage from that of others.
    """

    def __init__(
        self,
        registry: Registry,
        secrets: Secrets,
        directory: Path,
        settings: Settings,
        *,
        name: str = "gateway",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._secrets = secrets
        self._settings = settings
        self._policies = Policies.read(shipped("envoy"))
        self._publisher = Publisher(directory)
        self._meter = Meter(registry, directory, name)
        self._now = now
        self._read: _Read | None = None
        self._over_budget: dict[str, int] = {}

    def publish_once(self) -> list[str]:
        """Read the stores and write what changed; gives the names of the files written.

        Raises:
            AivailableError: A store cannot be read, or holds no fleet document where one should be.
        """
        self._read = _Read(
            fleet=self._fleet(),
            keys=read_keys(self._secrets),
            instances=self._registry.instances(ENGINE_SERVICE),
            tls=certificate(self._settings),
            gateways=sum(instance.passing for instance in self._registry.instances(GATEWAY_SERVICE)) or 1,
        )
        return self._publish()

    def publish_first(self, stop: threading.Event) -> None:
        """Publish once before Envoy starts; while the stores do not answer, the files of an earlier run will do."""
        while not stop.is_set():
            try:
                self.publish_once()
            except AivailableError as error:
                if self._publisher.has_files():
                    _log.warning("starting from the last good files after: %s", error)
                    return
                _log.warning("waiting for the stores: %s", error)
                stop.wait(FIRST_RETRY_S)
            else:
                return

    def run(self, stop: threading.Event) -> None:
        """Publish at every change, and count, until `stop` is set."""
        sources: dict[str, Changed] = {
            "fleet": partial(self._registry.key_changed, FLEET_KEY),
            "health": partial(self._registry.services_changed, ENGINE_SERVICE),
            "keys": self._secrets.changed,
        }
        read_at_s = 0.0
        with watching(sources, stop) as wake:
            while not stop.is_set():
                changed = wake.is_set()
                wake.clear()
                try:
                    if changed or time.monotonic() >= read_at_s:
                        read_at_s = time.monotonic() + self._settings.tick_s
                        self.publish_once()
                    self._count()
                except AivailableError as error:
                    _log.warning("the last good files stay: %s", error)
                wake.wait(min(METER_S, self._settings.tick_s))
            self._count_last()

    def _publish(self) -> list[str]:
        read = self._read
        if read is None:
            return []
        now_s = self._now()
        keys = tuple(key for key in read.keys if not key.expires_at or key.expires_at > now_s)
        wanted = files(
            read.fleet,
            keys,
            read.instances,
            self._settings,
            self._policies,
            over_budget=self._over_budget,
            gateways=read.gateways,
            tls=read.tls,
        )
        return self._publisher.publish(wanted)

    def _count(self) -> None:
        """Read the counters; refuse who is over budget, and who has expired since."""
        now_s = self._now()
        self._meter.tick(now_s)
        found = self._meter.over_budget(self._read.keys if self._read else (), now_s)
        # The wait is told as it was at first: a file written anew each second would be a change each second.
        self._over_budget = {key: self._over_budget.get(key, after_s) for key, after_s in found.items()}
        self._publish()

    def _count_last(self) -> None:
        try:
            self._meter.tick(self._now())
        except AivailableError as error:
            _log.warning("the last requests are not counted: %s", error)

    def _fleet(self) -> Fleet:
        entry = self._registry.get(FLEET_KEY)
        return load_fleet(entry.value, where=f"key {FLEET_KEY}") if entry else Fleet()
