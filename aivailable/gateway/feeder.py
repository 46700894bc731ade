"""The feeder: watches fleet, instances, keys and certificates, and publishes Envoy's files. Needs no controller."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from aivailable.documents import load_fleet
from aivailable.errors import AivailableError
from aivailable.gateway.feeder_metrics import serving
from aivailable.gateway.mesh import Mesh
from aivailable.gateway.meter import Meter
from aivailable.gateway.policies import Policies
from aivailable.gateway.publishing import Inputs, Publisher, files
from aivailable.gateway.tls import certificate
from aivailable.keystore import read_keys
from aivailable.model.fleet import Fleet
from aivailable.model.service import ENGINE_SERVICE, ENGINE_SIDECARS, FLEET_KEY, GATEWAY_SERVICE
from aivailable.seams import Certificates, Registry, Secrets
from aivailable.settings import Settings, shipped
from aivailable.watching import Changed, watching

FIRST_RETRY_S = 1.0
METER_S = 1.0
"""How often Envoy's counters are read: a key that is over budget, or has expired, is refused within two seconds."""

_log = logging.getLogger(__name__)


class Feeder:
    """Keeps the gateway's files equal to what the stores say; what cannot be read stays as it was read last.

    `name` tells this gateway's usage from that of others. Without `certificates` no engine is in a mesh.
    """

    def __init__(
        self,
        registry: Registry,
        secrets: Secrets,
        directory: Path,
        settings: Settings,
        *,
        certificates: Certificates | None = None,
        name: str = "gateway",
        policies: Policies | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._secrets = secrets
        self._certificates = certificates
        self._settings = settings
        self._policies = policies or Policies.read(shipped("envoy"))
        self._directory = directory
        self._publisher = Publisher(directory)
        self._meter = Meter(registry, directory, name)
        self._now = now
        self._inputs = Inputs()
        self._read_at_s: dict[str, float] = dict.fromkeys(("registry", "secrets", "files", "certificates"), now())
        self._idle = threading.Event()

    def publish_once(self) -> list[str]:
        """Read the stores and write what changed; gives the names of the files written.

        Each store is read although another cannot be, and what follows from it is written before the next is asked:
        endpoints go on changing while no key can be read, or while asking for them takes long.

        Raises:
            AivailableError: What could not be read, after the rest was written.
        """
        failed: list[AivailableError] = []
        written: list[str] = []
        stores = {
            "registry": self._read_registry,
            "secrets": self._read_secrets,
            "files": self._read_tls,
            "certificates": self._read_mesh,
        }
        for name, read in stores.items():
            try:
                self._inputs = read(self._inputs)
                self._read_at_s[name] = self._now()
            except AivailableError as error:
                failed.append(error)
            written += self._publish()
        if failed:
            raise failed[0]
        return written

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
        """Publish at every change, and count, until `stop` is set; `count_last` when the last requests are answered."""
        sources: dict[str, Changed] = {
            "fleet": partial(self._registry.key_changed, FLEET_KEY),
            "health": partial(self._registry.services_changed, ENGINE_SERVICE),
            "keys": self._secrets.changed,
        }
        if self._certificates is not None:
            sources["identity"] = self._while_meshed(partial(self._certificates.identity_changed, GATEWAY_SERVICE))
            sources["roots"] = self._while_meshed(self._certificates.roots_changed)
            sources["sidecars"] = self._while_meshed(partial(self._registry.services_changed, ENGINE_SIDECARS))
        else:
            _log.info("no mesh here: engines are reached by plain HTTP")
        read_at_s = 0.0
        with watching(sources, stop) as wake, serving(self._directory, self.stale_s):
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

    def stale_s(self) -> dict[str, float]:
        """How long ago each store could be read last, in seconds; at first, how long it has been tried."""
        now_s = self._now()
        return {store: now_s - at_s for store, at_s in self._read_at_s.items()}

    def count_last(self) -> None:
        """Count what was answered since `run` ended."""
        try:
            self._meter.tick(self._now())
        except AivailableError as error:
            _log.warning("the last requests are not counted: %s", error)

    def _read_registry(self, inputs: Inputs) -> Inputs:
        entry = self._registry.get(FLEET_KEY)
        fleet = load_fleet(entry.value, where=f"key {FLEET_KEY}") if entry else Fleet()
        return replace(
            inputs,
            fleet=fleet,
            instances=self._registry.instances(ENGINE_SERVICE),
            gateways=sum(instance.passing for instance in self._registry.instances(GATEWAY_SERVICE)) or 1,
        )

    def _read_secrets(self, inputs: Inputs) -> Inputs:
        return replace(inputs, keys=read_keys(self._secrets))

    def _read_tls(self, inputs: Inputs) -> Inputs:
        return replace(inputs, tls=certificate(self._settings))

    def _read_mesh(self, inputs: Inputs) -> Inputs:
        if self._certificates is None or not self._meshed():
            return inputs
        identity = self._certificates.identity(GATEWAY_SERVICE)
        return replace(inputs, mesh=Mesh(identity=identity, roots=self._certificates.roots()))

    def _meshed(self) -> bool:
        """Whether any engine is, or shall be, in the mesh."""
        fleet, instances = self._inputs.fleet, self._inputs.instances or ()
        return (fleet is not None and fleet.meshed) or any(instance.meshed for instance in instances)

    def _while_meshed(self, changed: Changed) -> Changed:
        """A source that is asked only while there is a mesh: Consul may have none."""

        def ask(since: int, timeout_s: float) -> int:
            if self._meshed():
                return changed(since, timeout_s)
            self._idle.wait(timeout_s)
            return since

        return ask

    def _publish(self) -> list[str]:
        now_s = self._now()
        keys = self._inputs.keys
        valid = keys and tuple(key for key in keys if not key.expires_at or key.expires_at > now_s)
        return self._publisher.publish(files(replace(self._inputs, keys=valid), self._settings, self._policies))

    def _count(self) -> None:
        """Read the counters; refuse who is over budget, and who has expired since."""
        now_s = self._now()
        try:
            self._meter.tick(now_s)
            found = self._meter.over_budget(self._inputs.keys or (), now_s)
        except AivailableError as error:
            _log.warning("budgets stay as they were: %s", error)
            found = dict(self._inputs.over_budget)
        # The wait is told as it was at first: a file written anew each second would be a change each second.
        before = self._inputs.over_budget
        over_budget = {key: before.get(key, after_s) for key, after_s in found.items()}
        self._inputs = replace(self._inputs, over_budget=over_budget)
        self._publish()
