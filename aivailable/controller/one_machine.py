"""Everything `aivailable demo` runs in one process: embedded cluster, controller, feeder and Envoy, in order.

Start order: cluster, key, gateway, controller. Stop order is the reverse; nothing is left running, also when a part
fails to start half-way.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from aivailable.controller.loop import Controller, Watcher
from aivailable.embedded.agent import Agent
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.processes import remember
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.embedded.state import ENDPOINT_FILE, GATEWAY_DIR, StateFiles
from aivailable.gateway.envoy import Envoy
from aivailable.gateway.feeder import Feeder
from aivailable.gateway.tls import with_own_certificate
from aivailable.keystore import create_key, read_key
from aivailable.model.cards import Node
from aivailable.model.service import host_port
from aivailable.settings import Settings

STOP_TIMEOUT_S = 20.0
KEY_ID = "demo"
"""The key of a demo; the one of earlier demos in the same directory is used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The handles on what runs: where clients connect, with which key, and the probe port's `host:port`."""

    cluster: EmbeddedCluster
    registry: EmbeddedRegistry
    secrets: EmbeddedSecrets
    base_url: str
    probes: str
    key: str


@contextmanager
def one_machine(nodes: tuple[Node, ...], settings: Settings, *, watcher: Watcher | None = None) -> Iterator[Running]:
    """Run the whole product on this machine for as long as the context lasts; `watcher` is told what is done.

    Raises:
        UserError: The state directory is in use, a port is taken, or a part of the extra `demo` is missing.
        PermanentError: A part did not start.
    """
    cluster = EmbeddedCluster(settings.state)
    registry = EmbeddedRegistry(settings.state)
    secrets = EmbeddedSecrets(settings.state)
    gateway_dir = settings.state / GATEWAY_DIR
    endpoint_file = settings.state / ENDPOINT_FILE
    with ExitStack() as running:
        running.enter_context(Agent(settings.state, nodes))
        endpoint_file.unlink(missing_ok=True)
        key = read_key(secrets, KEY_ID) or create_key(secrets, KEY_ID)
        gateway_dir.mkdir(parents=True, exist_ok=True)
        settings = with_own_certificate(settings, gateway_dir)
        feeder = Feeder(registry, secrets, gateway_dir, settings)
        feeder.publish_once()
        processes = StateFiles(settings.state).processes
        envoy = running.enter_context(Envoy(gateway_dir, settings, started=lambda pid: remember(processes, pid)))
        running.callback(feeder.count_last)
        running.callback(envoy.drain)
        running.enter_context(_thread("feeder", feeder.run))
        base_url = f"{settings.gateway_scheme}://{host_port(settings.gateway_address, envoy.http_port)}/v1"
        endpoint_file.write_text(json.dumps({"base_url": base_url}))
        running.callback(endpoint_file.unlink, missing_ok=True)
        running.enter_context(_thread("controller", Controller(cluster, registry, settings, watcher=watcher).run))
        yield Running(
            cluster=cluster,
            registry=registry,
            secrets=secrets,
            base_url=base_url,
            probes=host_port(settings.gateway_address, envoy.probe_port),
            key=key.secret,
        )


@contextmanager
def _thread(name: str, run: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_TIMEOUT_S)
