"""A mesh without Nomad: a real Consul, engines behind its own proxy, a real gateway."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from aivailable.clients.consul import ConsulRegistry
from aivailable.clients.consul_connect import ConsulCertificates, ConsulIntentions
from aivailable.controller.mesh import write_intentions
from aivailable.documents import dump_fleet
from aivailable.gateway.policies import Policies
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY
from aivailable.settings import ConsulSettings, shipped
from tests.gateway.front import Front, front
from tests.processes import StandIn, eventually, free_port
from tests.samples import fleet, model

CONNECTION_S = 1
"""How long a connection to an engine lasts here: what an intention changes acts after that at the latest."""


@dataclass
class Proxied:
    """An engine and the proxy in front of it, registered under the engines' name."""

    engine: StandIn
    proxy: "subprocess.Popen[bytes]"
    port: int
    id: str

    def kill(self) -> None:
        self.proxy.kill()
        self.proxy.wait(5)
        self.engine.kill()


@dataclass
class Ring:
    """Consul at `address`, the gateway `front`, and its engines."""

    address: str
    folder: Path
    front: Front = field(init=False)
    engines: list[Proxied] = field(default_factory=list)

    def consul(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(method, f"{self.address}/v1{path}", json=body, timeout=10, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def add_engine(self, name: str = "m-a", *, identity: str = ENGINE_SERVICE) -> Proxied:
        """Start an engine behind a proxy that shows the identity of a service; the engine listens on loopback only."""
        engine, port = StandIn(), free_port()
        command = ["consul", "connect", "proxy", "-http-addr", self.address, "-service", identity]
        command += ["-service-addr", f"127.0.0.1:{engine.port}", "-listen", f"127.0.0.1:{port}"]
        with (self.folder / f"proxy-{port}.log").open("wb") as log:
            proxy = subprocess.Popen(command, stdout=log, stderr=log)
        added = Proxied(engine=engine, proxy=proxy, port=port, id=f"engine-{port}")
        self.engines.append(added)
        self.consul(
            "PUT",
            "/agent/service/register",
            {
                "ID": added.id,
                "Name": ENGINE_SERVICE,
                "Address": "127.0.0.1",
                "Port": port,
                "Meta": {"model": name, "mesh": "host"},
                "Connect": {"Native": True},
                "Checks": [
                    {"TCP": f"127.0.0.1:{port}", "Interval": "1s"},
                    {"HTTP": f"http://127.0.0.1:{engine.port}/health", "Interval": "1s"},
                ],
            },
        )
        return added

    def set_models(self, *names: str) -> None:
        registry = ConsulRegistry(ConsulSettings(address=self.address))
        registry.put(FLEET_KEY, dump_fleet(fleet(*map(model, names), mesh="host")))
        registry.close()

    def ask(self, client: httpx.Client, name: str = "m-a") -> httpx.Response:
        body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        return client.post("/v1/chat/completions", json=body)

    def intentions(self) -> ConsulIntentions:
        return ConsulIntentions(ConsulSettings(address=self.address))

    def log(self, name: str = "envoy.log") -> str:
        return (self.folder / "gateway" / name).read_text()


@contextmanager
def ring(address: str, folder: Path) -> Iterator[Ring]:
    """A ring with the intentions of `aivailable up`, one model, no engine yet."""
    made = Ring(address=address, folder=folder)
    write_intentions(made.intentions())
    made.set_models("m-a")
    settings = ConsulSettings(address=address)
    policies = Policies.read(shipped("envoy"))
    upstream = json.loads(json.dumps(policies.upstream).replace('"30s"', f'"{CONNECTION_S}s"'))
    with ExitStack() as stack:
        made.front = stack.enter_context(
            front(
                folder,
                registry=ConsulRegistry(settings),
                certificates=ConsulCertificates(settings),
                policies=replace(policies, upstream=upstream),
            )
        )
        made.front.set_key("all", "sk-all")
        try:
            yield made
        finally:
            for engine in made.engines:
                engine.kill()
                made.consul("PUT", f"/agent/service/deregister/{engine.id}")


def wait_until_served(made: Ring, client: httpx.Client) -> None:
    eventually(lambda: made.ask(client).status_code == 200, timeout_s=20)
