"""Writes Envoy's files: only what changed, atomically, in an order that never routes to a cluster that is not there."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aivailable.gateway.clusters import CLUSTERS_FILE, clusters, endpoints_file, load_assignment
from aivailable.gateway.keys import KEYS_FILE, key_filter
from aivailable.gateway.limits import LIMITS_FILE, rate_limits
from aivailable.gateway.mesh import IDENTITY_FILE, TRUST_FILE, Mesh, identity_secret, trust_secret
from aivailable.gateway.policies import Policies, Resource
from aivailable.gateway.probes import PROBES_FILE, probe_routes
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that the files follow from. None is what is not known yet; what follows from it is not written then.

    `tls` is the certificate for clients, `mesh` our identity towards engines. `over_budget` are keys that have used up
    their tokens, with the seconds after which they may ask again; `gateways` share the requests of a key.
    """

    fleet: Fleet | None = None
    keys: tuple[ApiKey, ...] | None = None
    instances: tuple[Instance, ...] | None = None
    tls: Resource | None = None
    mesh: Mesh | None = None
    over_budget: Mapping[str, int] = field(default_factory=dict)
    gateways: int = 1


def files(inputs: Inputs, settings: Settings, policies: Policies) -> list[File]:
    """All files, in the order to write them when nothing is removed.

    Certificates before the clusters that use them, endpoints before clusters before routes; rights and limits
    before the keys they restrict.
    """
    fleet, keys, instances, mesh = inputs.fleet, inputs.keys, inputs.instances, inputs.mesh
    wanted = []
    if inputs.tls:
        wanted.append(File(name=TLS_FILE, resources=[inputs.tls], secret=True))
    if mesh:
        wanted.append(File(name=TRUST_FILE, resources=[trust_secret(mesh)]))
        wanted.append(File(name=IDENTITY_FILE, resources=[identity_secret(mesh)], secret=True))
    if fleet is None:
        return wanted
    # Engines in the mesh and no certificate yet: better the endpoints of an earlier run than none.
    if instances is not None and (mesh or not any(instance.meshed for instance in instances)):
        wanted += [
            File(name=endpoints_file(m.name), resources=[load_assignment(m.name, instances, mesh=mesh is not None)])
            for m in fleet.models
        ]
        wanted.append(File(name=CLUSTERS_FILE, resources=clusters(fleet, policies, mesh=mesh is not None)))
        wanted.append(File(name=PROBES_FILE, resources=[probe_routes(instances, mesh=mesh is not None)]))
    if keys is not None:
        routes = route_configuration(fleet, keys, settings, policies, over_budget=inputs.over_budget)
        wanted.append(File(name=ROUTES_FILE, resources=[routes]))
        wanted.append(File(name=LIMITS_FILE, resources=[rate_limits(keys, inputs.gateways)]))
        wanted.append(File(name=KEYS_FILE, resources=[key_filter(keys)], secret=True))
    return wanted


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
        return all((self._directory / name).is_file() for name in (CLUSTERS_FILE, ROUTES_FILE, LIMITS_FILE, KEYS_FILE))

    def _write(self, file: File, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "w") as opened:
            os.fchmod(descriptor, 0o600 if file.secret else 0o644)
            opened.write(text)
        Path(temporary).replace(self._directory / file.name)
        self._written[file.name] = text
