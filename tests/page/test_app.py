"""The page over HTTP, as a browser and as Prometheus ask it; the stores are files, the rack is in memory."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from aivailable.controller.fleetstore import read_fleet, write_fleet
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.errors import RetryableError, UserError
from aivailable.keystore import create_key, revoke_key
from aivailable.model.replica import ReplicaState
from aivailable.page.access import Keyring
from aivailable.page.app import application
from aivailable.page.looking import Eyes, Live, Looker
from aivailable.page.server import serving
from aivailable.placement import plan
from tests.controller.memory import CountedRegistry, MemoryCluster, Writes
from tests.placement.world import World, begun
from tests.processes import free_port
from tests.samples import fleet, model, rack

WANTED = fleet(model("a", replicas=2), model("b"))
GATEWAY_TEXT = 'envoy_cluster_upstream_rq_active{envoy_cluster_name="llm_a"} 3\n'


@dataclass
class Page:
    """A page that is served, with what it looks at."""

    url: str
    world: World
    secrets: EmbeddedSecrets
    key: str
    registry: CountedRegistry

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        headers = {} if key == "" else {"authorization": f"Bearer {key or self.key}"}
        return httpx.get(f"{self.url}{path}", headers=headers, trust_env=False, timeout=10)

    def events(self) -> Generator[tuple[str, dict[str, Any]]]:
        headers = {"authorization": f"Bearer {self.key}"}
        with httpx.stream("GET", f"{self.url}/api/live", headers=headers, trust_env=False, timeout=10) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))


@contextmanager
def served(tmp_path: Path) -> Iterator[Page]:
    world = World(rack())
    for placement in plan(WANTED, rack()).placements:
        world.replicas[placement.job_id] = begun(placement, ReplicaState.SERVING)
    registry = CountedRegistry(tmp_path, world, Writes())
    write_fleet(registry, WANTED, seen=read_fleet(registry))
    secrets = EmbeddedSecrets(tmp_path)
    metrics = CollectorRegistry()
    Gauge("aivailable_leading", "1 where this controller leads", registry=metrics).set(1)
    eyes = Eyes(
        cluster=MemoryCluster(world, Writes()),
        registry=registry,
        gateways=lambda: {"g": GATEWAY_TEXT},
        in_use_mib=lambda: {"GPU-node1-0": 77},
        base_urls=lambda: ("http://127.0.0.1:1/v1",),
    )
    port = free_port()
    app = application(Live(Looker(eyes).look), Keyring(secrets), metrics)
    with serving(app, "127.0.0.1", port):
        key = create_key(secrets, "alice").secret
        yield Page(url=f"http://127.0.0.1:{port}", world=world, secrets=secrets, key=key, registry=registry)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with served(tmp_path) as running:
        yield running


def test_the_page_itself_needs_no_key_and_brings_everything_it_uses(page: Page) -> None:
    answer = page.get("/", key="")

    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    for name in ("page.css", "main.js", "live.js", "rack.js", "models.js", "chat.js", "dom.js", "favicon.svg"):
        assert page.get(f"/{name}", key="").status_code == 200, name
    assert "http" not in answer.text.replace("http-equiv", "")


@pytest.mark.parametrize("path", ["/api/picture", "/api/live"])
@pytest.mark.parametrize("key", ["", "sk-wrong"])
def test_data_needs_a_key(page: Page, path: str, key: str) -> None:
    answer = page.get(path, key=key)

    assert answer.status_code == 401
    assert "keys create" in answer.json()["error"]["hint"]
    assert "node1" not in answer.text


def test_the_picture_holds_rack_models_and_traffic(page: Page) -> None:
    found = page.get("/api/picture").json()

    assert found["you"] == {"id": "alice", "models": []}
    assert found["gateways"] == ["http://127.0.0.1:1/v1"]
    assert [n["name"] for n in found["picture"]["nodes"]] == ["node1", "node2", "node3"]
    a, b = found["picture"]["models"]
    assert (a["serving"], a["wanted"], a["condition"], a["waiting"]) == (2, 2, "good", 0)
    assert a["traffic"]["in_flight"] == 3
    assert b["traffic"]["in_flight"] == 0
    cards = [c for n in found["picture"]["nodes"] for c in n["cards"]]
    assert sum(c["booked_mib"] for c in cards) == sum(t["claim_mib"] for c in cards for t in c["tenants"]) > 0
    assert cards[0]["in_use_mib"] == 77


def test_a_key_of_one_model_sees_that_one(page: Page) -> None:
    secret = create_key(page.secrets, "bob", ("b",)).secret
    text = page.get("/api/picture", key=secret).text

    assert [m["name"] for m in json.loads(text)["picture"]["models"]] == ["b"]
    assert '"a"' not in text


def test_a_change_comes_by_itself(page: Page) -> None:
    events = page.events()
    name, first = next(events)
    assert (name, first["picture"]["nodes"][0]["state"]) == ("picture", "up")

    page.world.change_node("node1", ready=False)
    _, second = next(events)

    assert second["picture"]["nodes"][0]["state"] == "down"
    events.close()


def test_a_revoked_key_ends_the_stream(page: Page) -> None:
    events = page.events()
    next(events)
    revoke_key(page.secrets, "alice")

    *_, (name, found) = events
    assert name == "denied"
    assert "key" in found["message"]


def test_a_store_that_cannot_be_read_is_told_and_the_stream_goes_on(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> frozenset[str]:
        raise RetryableError("Consul does not answer")

    events = page.events()
    next(events)
    with monkeypatch.context() as broken:
        broken.setattr(page.registry, "lost_nodes", fails)
        _, found = next(events)
        assert (found["picture"], found["trouble"]) == (None, "Consul does not answer")
    _, found = next(events)
    assert found["picture"]["nodes"]
    assert not found["trouble"]
    events.close()


def test_prometheus_needs_no_key(page: Page) -> None:
    answer = page.get("/metrics", key="")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "aivailable_leading 1.0" in answer.text


def test_the_end_of_the_server_ends_its_streams(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        events = page.events()
        next(events)
    with pytest.raises(httpx.TransportError):
        list(events)
    with pytest.raises(httpx.ConnectError):
        page.get("/")


def test_a_taken_port_is_told_with_the_setting(page: Page) -> None:
    port = int(page.url.rpartition(":")[2])
    app = application(Live(lambda: None), Keyring(page.secrets), CollectorRegistry())  # type: ignore[arg-type,return-value] # never asked
    with pytest.raises(UserError, match="Address already in use") as refused, serving(app, "127.0.0.1", port):
        pass
    assert "AIVAILABLE_CONTROLLER_PORT" in refused.value.hint
