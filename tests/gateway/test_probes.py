"""The probe port: what it answers, and the metrics of engines, which it passes on for registered ones only."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.gateway.envoy import Envoy
from aivailable.gateway.feeder import Feeder
from aivailable.gateway.probes import ENGINES, ENGINES_IN_THE_MESH, PROBES_FILE, engine_path, probe_routes
from aivailable.settings import Settings
from tests.gateway import examples
from tests.gateway.front import Front, front
from tests.processes import StandIn, eventually, stand_ins
from tests.samples import fleet, model

HERE = "127.0.0.1"


@pytest.fixture(scope="module")
def engines() -> Iterator[list[StandIn]]:
    with stand_ins(2) as started:
        yield started


@pytest.fixture(scope="module")
def gate(engines: list[StandIn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("gateway")) as running:
        running.set_key("all", "sk-all")
        running.set_fleet(fleet(model("m-a")))
        # One serves, one does not pass its check: it is no endpoint, and can be looked at all the same.
        running.set_instances({"m-a": [each.port for each in engines]}, failing=(engines[1].port,))
        eventually(lambda: ask(running, engine_path(HERE, engines[1].port)).status_code == 200)
        yield running


def ask(gate: Front, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    url = f"http://{HERE}:{gate.envoy.probe_port}{path}"
    return httpx.request(method, url, headers=headers, trust_env=False, timeout=10)


@pytest.mark.envoy
def test_a_registered_engines_metrics_are_passed_on(gate: Front, engines: list[StandIn]) -> None:
    for engine in engines:
        answer = ask(gate, engine_path(HERE, engine.port))
        assert answer.status_code == 200
        assert f"requests_served {engine.served()}" in answer.text


@pytest.mark.envoy
def test_no_other_address_path_or_method_is(gate: Front, engines: list[StandIn]) -> None:
    with stand_ins(1) as (stranger,):
        assert ask(gate, engine_path(HERE, stranger.port)).status_code == 404
        elsewhere = {"x-envoy-original-dst-host": f"{HERE}:{stranger.port}"}
        spoofed = ask(gate, engine_path(HERE, engines[0].port), **elsewhere)
        assert f"requests_served {engines[0].served()}" in spoofed.text
        for path in ("/metrics", "/metrics/feeder"):
            ask(gate, path, **elsewhere)
        assert stranger.served() == 0
    known = f"/engines/{HERE}:{engines[0].port}"
    for path in (
        known,
        f"{known}/health",
        f"{known}/metrics/",
        f"{known}/../metrics",
        f"{known}/v1/models",
        "/engines",
    ):
        assert ask(gate, path).status_code == 404, path
    assert ask(gate, f"{known}/metrics", "POST").status_code == 404
    assert engines[0].served() == 0


@pytest.mark.envoy
def test_what_was_always_there_is_there(gate: Front) -> None:
    assert ask(gate, "/ready").status_code == 200
    assert "envoy_server_live" in ask(gate, "/metrics").text
    assert "aivailable_gateway_stale_seconds" in ask(gate, "/metrics/feeder").text
    assert ask(gate, "/stats").status_code == 404


@pytest.mark.envoy
def test_an_engine_that_goes_takes_its_route_with_it(tmp_path: Path) -> None:
    with stand_ins(1) as (engine,), front(tmp_path) as gate:
        path = engine_path(HERE, engine.port)
        assert ask(gate, path).status_code == 404
        gate.set_fleet(fleet(model("m-a")))
        gate.set_instances({"m-a": [engine.port]})
        eventually(lambda: ask(gate, path).status_code == 200)
        gate.set_instances({})
        eventually(lambda: ask(gate, path).status_code == 404)


@pytest.mark.envoy
def test_a_directory_of_an_older_version_is_started_from(tmp_path: Path) -> None:
    """While the stores do not answer, a gateway starts from the files of an earlier run, which had no such document."""
    settings = Settings(state=tmp_path, gateway_port=0, probe_port=0)
    directory = tmp_path / "gateway"
    directory.mkdir()
    Feeder(EmbeddedRegistry(tmp_path), EmbeddedSecrets(tmp_path), directory, settings).publish_once()
    (directory / PROBES_FILE).unlink()
    with Envoy(directory, settings) as envoy:
        answer = httpx.get(f"http://{HERE}:{envoy.probe_port}/metrics", trust_env=False)
    assert "envoy_server_live" in answer.text


def test_an_engine_in_the_mesh_has_its_route_when_there_is_a_certificate() -> None:
    plain, meshed = (json.dumps(probe_routes(examples.INSTANCES, mesh=mesh)) for mesh in (False, True))
    clusters = {name: f'"cluster": "{name}"' for name in (ENGINES, ENGINES_IN_THE_MESH)}

    assert plain.count(clusters[ENGINES]) == meshed.count(clusters[ENGINES]) == 3
    assert (plain.count(clusters[ENGINES_IN_THE_MESH]), meshed.count(clusters[ENGINES_IN_THE_MESH])) == (0, 1)


def test_an_address_of_ipv6_is_written_as_prometheus_writes_it() -> None:
    assert engine_path("fd00::1", 8000) == "/engines/[fd00::1]:8000/metrics"
