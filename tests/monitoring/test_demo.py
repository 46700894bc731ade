"""Each query names a metric that exists: asked of a running demo, by its endpoints and by a real Prometheus."""

import shutil
from collections.abc import Iterator, Mapping

import pytest

from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.gateway.probes import engine_path
from aivailable.model.service import ENGINE_SERVICE
from aivailable.settings import Settings
from tests.cli.running import CHAT, MODEL, Demo, demo
from tests.monitoring.configuration import Target, configuration, with_static_targets
from tests.monitoring.endpoints import Endpoints, names, names_of_vllm
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.monitoring.queries import OF_PROMETHEUS, Query, filled, names_in, panels, queries
from tests.processes import eventually
from tests.weights import smollm2

pytestmark = [pytest.mark.envoy, pytest.mark.engine, pytest.mark.timeout(300)]

NOTHING_TO_SHOW = {
    "Used by card",
    "Cards that cannot be used",
    "KV cache in use (vLLM)",
    "From the loss of a replica to the next one",
}
"""Panels that are empty on a demo that is well: simulated cards have no driver, llama.cpp tells of no cache."""
NO_DRIVER = {"aivailable_vram_used_bytes"}
"""What simulated cards do not tell."""
EVALUATIONS = 5
"""How often the alerts are judged while nothing may come up."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    smollm2()
    with demo(tmp_path_factory.mktemp("monitored")) as running:
        ask(running)
        yield running


@pytest.fixture(scope="module")
def endpoints(up: Demo) -> Endpoints:
    return Endpoints.of(up)


def ask(up: Demo) -> None:
    """An answer, a stream, and a model that there is not."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    with up.client() as client:
        assert client.post(CHAT, json=body).status_code == 200
        assert "[DONE]" in client.post(CHAT, json={**body, "stream": True}).text
        assert client.post(CHAT, json={**body, "model": "nope"}).status_code == 404


@pytest.fixture(scope="module")
def existing(endpoints: Endpoints) -> set[str]:
    found = {name for text in endpoints.texts().values() for name in names(text)}
    return found | names_of_vllm() | OF_PROMETHEUS


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.where)
def test_a_query_names_metrics_that_exist(query: Query, existing: set[str]) -> None:
    assert query.names
    assert query.names <= existing


def test_the_route_of_an_engine_is_the_one_that_prometheus_makes(endpoints: Endpoints, up: Demo) -> None:
    (first, *_) = EmbeddedRegistry(up.state).instances(ENGINE_SERVICE)

    assert engine_path(first.address, first.port) == f"/engines/{endpoints.engines[0]}/metrics"


@pytest.fixture(scope="module")
def watched(up: Demo, endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus on what the job configures, told of the demo's instances as Consul would."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (tests/setup.sh)")
    known = EmbeddedRegistry(up.state).instances(ENGINE_SERVICE)
    engines: list[Target] = [(f"{i.address}:{i.port}", as_consul_tells(i.node, i.port, i.meta)) for i in known]
    gateway = as_consul_tells("node1", 0, {"probe": endpoints.probes.rpartition(":")[2]})
    services = {
        "aivailable-controller": [(endpoints.controller, as_consul_tells("node1", 0, {"scheme": "http"}))],
        "llm": [(endpoints.http, gateway)],
        # One that loads, and one behind an Envoy sidecar: the first is not read, the second by its sidecar.
        "llm-engine": [
            *engines,
            ("127.0.0.1:1", {**as_consul_tells("node1", 1, {}), "__meta_consul_health": "critical"}),
            ("127.0.0.1:8000", as_consul_tells("node1", 8000, {"mesh": "bridge"})),
        ],
    }
    made = with_static_targets(configuration(Settings(), endpoints.probes), services)
    with prometheus(tmp_path_factory.mktemp("prometheus"), made) as running:
        eventually(lambda: {t["health"] for t in running.targets()} == {"up"}, timeout_s=30)
        ask(up)  # what is counted while it looks gives it rates
        yield running


def as_consul_tells(node: str, port: int, meta: Mapping[str, str]) -> dict[str, str]:
    found = {"__meta_consul_node": node, "__meta_consul_health": "passing", "__meta_consul_service_port": str(port)}
    return found | {f"__meta_consul_service_metadata_{name}": value for name, value in meta.items()}


def test_prometheus_reads_everything_and_knows_which_engine_is_which(watched: Prometheus, up: Demo) -> None:
    jobs = [target["labels"]["job"] for target in watched.targets()]
    replicas = {r["replica"]: r["node"] for r in up.serving()}

    assert sorted(set(jobs)) == [f"aivailable-{what}" for what in ("controllers", "engines", "feeders", "gateways")]
    assert jobs.count("aivailable-engines") == len(replicas)
    found = watched.query("llamacpp:requests_processing")
    assert {(e["metric"]["model"], e["metric"]["engine"]) for e in found} == {(MODEL, "llamacpp")}
    assert {int(e["metric"]["replica"]): e["metric"]["node"] for e in found} == replicas


def test_every_query_of_a_panel_has_something_to_show(watched: Prometheus, up: Demo) -> None:
    for panel in panels():
        texts = [filled(target["expr"]) for target in panel["targets"]]
        if panel["title"] in NOTHING_TO_SHOW:
            assert not [text for text in texts if with_numbers(watched, text)], panel["title"]
            continue
        for text in (text for text in texts if not NO_DRIVER & names_in(text)):

            def shown(text: str = text) -> bool:
                ask(up)  # rates are of the last minute
                return with_numbers(watched, text)

            eventually(shown, timeout_s=20)


def with_numbers(watched: Prometheus, text: str) -> bool:
    return any(entry["value"][1] != "NaN" for entry in watched.query(text))


def test_no_alert_comes_up_on_a_demo_that_is_well(watched: Prometheus) -> None:
    (group,) = watched.get("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    eventually(lambda: not watched.alerts(), timeout_s=20)  # before the first reading nothing was there
    judged: dict[str, set[str]] = {}

    def judged_often() -> bool:
        (group,) = watched.get("rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} == {"ok"}
        judged.setdefault(group["lastEvaluation"], {alert["labels"]["alertname"] for alert in watched.alerts()})
        return len(judged) >= EVALUATIONS

    eventually(judged_often, timeout_s=60)
    # One reading that comes late on a busy machine may make an alert pend for a moment; a wrong one stays.
    assert set.intersection(*judged.values()) == set()
    assert [alert for alert in watched.alerts() if alert["state"] == "firing"] == []
