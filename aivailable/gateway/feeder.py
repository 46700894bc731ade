"""The feeder: watches fleet, instances and keys, and publishes Envoy's files. Needs no controller."""

import logging
import threading
from functools import partial
from pathlib import Path

from aivailable.documents import load_fleet
from aivailable.errors import AivailableError
from aivailable.gateway.policies import Policies
from aivailable.gateway.publishing import Publisher, files
from aivailable.keystore import read_keys
from aivailable.model.fleet import Fleet
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY
from aivailable.seams import Registry, Secrets
from aivailable.settings import Settings, shipped
from aivailable.watching import Changed, watching

FIRST_RETRY_S = 1.0

_log = logging.getLogger(__name__)


class Feeder:
    """Keeps the gateway's files equal to what the stores say; what cannot be read leaves the last good files."""

    def __init__(self, registry: Registry, secrets: Secrets, directory: Path, settings: Settings) -> None:
        self._registry = registry
        self._secrets = secrets
        self._settings = settings
        self._policies = Policies.read(shipped("envoy"))
        self._publisher = Publisher(directory)

    def publish_once(self) -> list[str]:
        """Read the stores and write what changed; gives the names of the files written.

        Raises:
            AivailableError: A store cannot be read, or holds no fleet document where one should be.
        """
        instances = self._registry.instances(ENGINE_SERVICE)
        wanted = files(self._fleet(), read_keys(self._secrets), instances, self._settings, self._policies)
        return self._publisher.publish(wanted)

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
        """Publish at every change until `stop` is set."""
        sources: dict[str, Changed] = {
            "fleet": partial(self._registry.key_changed, FLEET_KEY),
            "health": partial(self._registry.services_changed, ENGINE_SERVICE),
            "keys": self._secrets.changed,
        }
        with watching(sources, stop) as wake:
            while not stop.is_set():
                wake.clear()
                try:
                    self.publish_once()
                except AivailableError as error:
                    _log.warning("the last good files stay: %s", error)
                wake.wait(self._settings.tick_s)

    def _fleet(self) -> Fleet:
        entry = self._registry.get(FLEET_KEY)
        return load_fleet(entry.value, where=f"key {FLEET_KEY}") if entry else Fleet()
