"""Which cluster the verbs speak to, and the handles on it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from aivailable.cli.telling import Teller
from aivailable.controller.sources import Sources
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.embedded.state import ENDPOINT_FILE, is_running
from aivailable.errors import UserError
from aivailable.keystore import read_keys
from aivailable.seams import Cluster, Hub, Registry, Secrets
from aivailable.settings import Settings, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The handles on one cluster."""

    cluster: Cluster
    registry: Registry
    secrets: Secrets
    hub: Hub
    settings: Settings


def read_settings(cluster: str | None) -> Settings:
    """The settings of this process, with the state directory that `--cluster embedded:DIR` names.

    Raises:
        UserError: `--cluster` is of no known form, or a setting is wrong.
    """
    settings = load(os.environ)
    kind, _, folder = (cluster or "embedded").partition(":")
    if kind != "embedded":
        raise UserError(
            f"--cluster {cluster}: this version speaks to the embedded cluster only",
            hint="use --cluster embedded or --cluster embedded:DIR",
        )
    return settings.model_copy(update={"state": Path(folder)}) if folder else settings


def connect(cluster: str | None) -> Connection:
    """Handles on the running cluster.

    Raises:
        UserError: None is running.
    """
    settings = read_settings(cluster)
    if not is_running(settings.state):
        raise UserError(f"no embedded cluster is running in {settings.state}", hint="start one with `aivailable demo`")
    return Connection(
        cluster=EmbeddedCluster(settings.state),
        registry=EmbeddedRegistry(settings.state),
        secrets=EmbeddedSecrets(settings.state),
        hub=Sources(settings, progress=Teller()),
        settings=settings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where clients reach the gateway (`base_url` ends in `/v1`) and a key that may use the model asked for."""

    base_url: str
    key: str


def endpoint(connection: Connection, model: str) -> Endpoint:
    """The gateway's address and a key for `model`.

    Raises:
        UserError: The gateway is not up yet, or no key may use the model.
    """
    file = connection.settings.state / ENDPOINT_FILE
    if not file.is_file():
        raise UserError("the gateway is not up yet", hint="wait until `aivailable demo` prints the base URL")
    base_url = json.loads(file.read_text())["base_url"]
    for key in read_keys(connection.secrets):
        if key.may_use(model):
            return Endpoint(base_url=base_url, key=key.secret)
    raise UserError(f"no key may use the model {model}", hint=f"aivailable keys create NAME --model {model}")
