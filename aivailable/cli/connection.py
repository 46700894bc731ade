"""Which cluster the verbs speak to, and the handles on it."""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aivailable.cli.telling import Teller
from aivailable.clients.chat import Trust
from aivailable.clients.consul import ConsulRegistry
from aivailable.clients.consul_connect import ConsulCertificates
from aivailable.clients.nomad import NomadCluster, NomadSecrets
from aivailable.clients.nomad_api import NomadApi
from aivailable.controller.sources import ClusterSources, Sources
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.embedded.state import ENDPOINT_FILE, is_running
from aivailable.errors import RetryableError, UserError
from aivailable.keystore import read_keys
from aivailable.model.service import GATEWAY_SERVICE, host_port
from aivailable.seams import Certificates, Cluster, Hub, Registry, Secrets
from aivailable.settings import Settings, load, of_a_real_cluster

AGENT_LOOK_S = 0.2
"""How long an agent on this machine may take to accept a connection before there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The handles on one cluster. `nomad` and `certificates` are the real one's own, None on the embedded cluster."""

    cluster: Cluster
    registry: Registry
    secrets: Secrets
    hub: Hub
    settings: Settings
    nomad: NomadCluster | None = None
    certificates: Certificates | None = None


def read_settings(cluster: str | None) -> Settings:
    """The settings of this process for the cluster that is meant; with `embedded:DIR` its state directory.

    Raises:
        UserError: `--cluster` is of no known form, or a setting is wrong.
    """
    settings = load(os.environ)
    kind, _, folder = (cluster or _found(settings)).partition(":")
    if kind == "nomad" and not folder:
        return of_a_real_cluster(settings)
    if kind != "embedded":
        raise UserError(f"--cluster {cluster}: not known", hint="use nomad, embedded or embedded:DIR")
    return settings.model_copy(update={"state": Path(folder)}) if folder else settings


def is_real(cluster: str | None) -> bool:
    """Whether a real Nomad is meant: asked for, or found and no embedded cluster runs."""
    return (cluster or _found(load(os.environ))) == "nomad"


def _found(settings: Settings) -> str:
    """`nomad` where NOMAD_ADDR is set or an agent answers on this machine, else `embedded`."""
    if settings.nomad.model_fields_set & {"address", "unix_address"}:
        return "nomad"
    if is_running(settings.state):
        return "embedded"
    where = urlsplit(settings.nomad.address)
    try:
        with socket.create_connection((where.hostname or "", where.port or 4646), AGENT_LOOK_S):
            return "nomad"
    except OSError:
        return "embedded"


def connect(cluster: str | None) -> Connection:
    """Handles on the running cluster.

    Raises:
        UserError: None is running.
    """
    settings = read_settings(cluster)
    if is_real(cluster):
        return _connect_real(settings)
    if not is_running(settings.state):
        raise UserError(
            f"no embedded cluster is running in {settings.state}",
            hint="start one with `aivailable demo`, or set NOMAD_ADDR to speak to a real one",
        )
    return Connection(
        cluster=EmbeddedCluster(settings.state),
        registry=EmbeddedRegistry(settings.state),
        secrets=EmbeddedSecrets(settings.state),
        hub=Sources(settings, progress=Teller()),
        settings=settings,
    )


def _connect_real(settings: Settings) -> Connection:
    api = NomadApi(settings.nomad)
    nomad = NomadCluster(api)
    return Connection(
        cluster=nomad,
        registry=ConsulRegistry(settings.consul),
        secrets=NomadSecrets(api),
        hub=ClusterSources(load(os.environ), progress=Teller()),
        settings=settings,
        nomad=nomad,
        certificates=ConsulCertificates(settings.consul),
    )


def require_nomad(connection: Connection, verb: str, *, hint: str = "set NOMAD_ADDR") -> NomadCluster:
    """The real Nomad's handle.

    Raises:
        UserError: This is the embedded cluster.
    """
    if connection.nomad is None:
        raise UserError(f"{verb} is for a real cluster; the demo needs none of it", hint=hint)
    return connection.nomad


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where clients reach the gateway (`base_url` ends in `/v1`) and a key that may use the model asked for."""

    base_url: str
    key: str


def endpoint(connection: Connection, model: str) -> Endpoint:
    """The gateway's address and a key for `model`.

    Raises:
        UserError: No key may use the model.
        RetryableError: No gateway is up.
    """
    base_url = _base_url(connection)
    for key in read_keys(connection.secrets):
        if key.may_use(model):
            return Endpoint(base_url=base_url, key=key.secret)
    raise UserError(f"no key may use the model {model}", hint=f"aivailable keys create NAME --model {model}")


def trust_of(settings: Settings) -> Trust:
    """Which certificate of the gateway our own command line accepts: one that it signed itself cannot be checked."""
    return Trust(ca=settings.tls_ca, checked=settings.tls_ca is not None or not settings.tls_self_signed)


def _base_url(connection: Connection) -> str:
    if connection.nomad is not None:
        for instance in connection.registry.instances(GATEWAY_SERVICE):
            if instance.passing:
                where = host_port(instance.address, instance.port)
                return f"{connection.settings.gateway_scheme}://{where}/v1"
        raise RetryableError("no gateway is up", hint="`aivailable up` starts them; `aivailable status` shows them")
    file = connection.settings.state / ENDPOINT_FILE
    if not file.is_file():
        raise RetryableError("the gateway is not up yet", hint="wait until `aivailable demo` prints the base URL")
    return str(json.loads(file.read_text())["base_url"])
