"""Writes Envoy's files: only what changed, atomically, in an order that never routes to a cluster that is not there."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from aivailable.gateway.clusters import CLUSTERS_FILE, clusters, endpoints_file, load_assignment
from aivailable.gateway.keys import KEYS_FILE, key_filter
from aivailable.gateway.policies import Policies, Resource
from aivailable.gateway.routes import ROUTES_FILE, route_configuration
from aivailable.gateway.tls import TLS_FILE
from aivailable.model.fleet import Fleet
from aivailable.model.service import ApiKey, Instance
from aivailable.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file to publish. Secret ones are for their owner's eyes only."""

    name: str
    resources: list[Resource]
    secret: bool = False


def files(
    fleet: Fleet,
    keys: tuple[ApiKey, ...],
    instances: tuple[Instance, ...],
    settings: Settings,
    policies: Policies,
    *,
    over_budget: Mapping[str, int] = MappingProxyType({}),
    gateways: int = 1,
    tls: Resource | None = None,
) -> list[File]:
    """All files, in the order to write them when nothing is removed; for the arguments see `route_configuration`.

    Endpoints before clusters before routes; rights (in the routes) before the keys they restrict.
    """
    routes = route_configuration(fleet, keys, settings, policies, over_budget=over_budget, gateways=gateways)
    return [
        *(File(name=endpoints_file(m.name), resources=[load_assignment(m.name, instances)]) for m in fleet.models),
        File(name=CLUSTERS_FILE, resources=clusters(fleet, policies)),
        File(name=ROUTES_FILE, resources=[routes]),
        File(name=KEYS_FILE, resources=[key_filter(keys)], secret=True),
        *([File(name=TLS_FILE, resources=[tls], secret=True)] if tls else []),
    ]


class Publisher:
    """Writes files into the gateway's directory and remembers what it wrote."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: dict[str, str] = {}

    def publish(self, wanted: list[File]) -> list[str]:
        """Write what differs; gives the names written.

        A model that goes leaves the routes first and the clusters after, so that no route points to nothing.
        """
        texts = {file.name: json.dumps({"resources": file.resources}, sort_keys=True) for file in wanted}
        changed = [file for file in wanted if self._written.get(file.name) != texts[file.name]]
        gone = [name for name in self._written if name not in texts]
        if gone:
            changed.sort(key=lambda file: file.name == CLUSTERS_FILE)
        for file in changed:
            self._write(file, texts[file.name])
        for name in gone:
            del self._written[name]
            (self._directory / name).unlink(missing_ok=True)
        return [file.name for file in changed]

    def has_files(self) -> bool:
        """Whether an earlier run left all that Envoy starts from."""
        return all((self._directory / name).is_file() for name in (CLUSTERS_FILE, ROUTES_FILE, KEYS_FILE))

    def _write(self, file: File, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "w") as opened:
            os.fchmod(descriptor, 0o600 if file.secret else 0o644)
            opened.write(text)
        Path(temporary).replace(self._directory / file.name)
        self._written[file.name] = text
