"""A real gateway for tests: embedded stores, the feeder, a real Envoy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from aivailable.documents import dump_fleet
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.embedded.state import StateFiles
from aivailable.gateway.envoy import Envoy
from aivailable.gateway.feeder import Feeder
from aivailable.gateway.policies import Policies
from aivailable.model.fleet import Fleet
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY, Instance
from aivailable.seams import Certificates, Registry
from aivailable.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    state: Path
    url: str
    envoy: Envoy

    def client(self, key: str | None = "sk-all") -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    def set_fleet(self, fleet: Fleet) -> None:
        EmbeddedRegistry(self.state).put(FLEET_KEY, dump_fleet(fleet))

    def set_instances(self, ports: dict[str, list[int]], *, failing: tuple[int, ...] = ()) -> None:
        instances = [
            Instance(
                id=f"i-{port}",
                service=ENGINE_SERVICE,
                address="127.0.0.1",
                port=port,
                passing=port not in failing,
                meta={"model": model},
            )
            for model, each in ports.items()
            for port in each
        ]
        StateFiles(self.state).services.write({ENGINE_SERVICE: [asdict(instance) for instance in instances]})

    def set_key(self, key_id: str, secret: str, models: str = "[]") -> None:
        EmbeddedSecrets(self.state).write(f"aivailable/keys/{key_id}", {"secret": secret, "models": models})

    def remove_key(self, key_id: str) -> None:
        EmbeddedSecrets(self.state).delete(f"aivailable/keys/{key_id}")


@contextmanager
def front(
    state: Path,
    *,
    registry: Registry | None = None,
    certificates: Certificates | None = None,
    policies: Policies | None = None,
    **more: Path,
) -> Iterator[Front]:
    """A gateway on the embedded stores, or on another registry; `more` are settings."""
    settings = Settings(state=state, gateway_port=0, probe_port=0, tick_s=0.5, **more)  # type: ignore[arg-type] # paths
    directory = state / "gateway"
    directory.mkdir()
    feeder = Feeder(
        registry or EmbeddedRegistry(state),
        EmbeddedSecrets(state),
        directory,
        settings,
        certificates=certificates,
        policies=policies,
    )
    feeder.publish_once()
    stop = threading.Event()
    thread = threading.Thread(target=feeder.run, args=(stop,))
    with Envoy(directory, settings) as envoy:
        thread.start()
        try:
            yield Front(state=state, url=f"http://127.0.0.1:{envoy.http_port}", envoy=envoy)
        finally:
            stop.set()
            thread.join(10)
            envoy.drain()
            feeder.count_last()
