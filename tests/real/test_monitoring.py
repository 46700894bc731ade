"""The job of Prometheus on a real cluster: it finds all in Consul, and reads engines through a gateway that lives."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from aivailable.model.service import PROMETHEUS_JOB
from tests.monitoring.prometheus import Prometheus
from tests.processes import eventually
from tests.real.life import STAND_IN, Life, fleet
from tests.real.rack import NODES, rack, why_not

KNOWS_CONSUL = "scrape_configs: [{job_name: a, consul_sd_configs: [{server: '127.0.0.1:8500'}]}]\n"


def no_prometheus() -> str:
    """Why there is none that can be used; empty where there is."""
    if missing := why_not():
        return missing
    if not (shutil.which("prometheus") and shutil.which("promtool")):
        return "no `prometheus` and `promtool` on PATH"
    words = ["promtool", "check", "config", "--syntax-only", "/dev/stdin"]
    done = subprocess.run(words, input=KNOWS_CONSUL, capture_output=True, text=True, check=False, timeout=20)
    return "" if done.returncode == 0 else "the `prometheus` on PATH does not know Consul (Debian's does not)"


pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(no_prometheus()), reason=no_prometheus() or "there is one"),
]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    command = {
        "AIVAILABLE_LLAMACPP_COMMAND": STAND_IN,
        "AIVAILABLE_PROMETHEUS_COMMAND": str(shutil.which("prometheus")),
    }
    with rack() as running:
        up = Life(running, command)
        assert "prometheus: http://" in up.ok("up", "--with", "prometheus")
        up.ok("deploy", fleet(tmp_path_factory.mktemp("fleet"), {"name": "m", "replicas": 2}))
        up.wait_until_serving(2)
        yield up


@pytest.fixture(scope="module")
def watching(life: Life) -> Prometheus:
    """The one that is healthy by Consul's word."""
    where = f"{life.rack.consul}/v1/health/service/{PROMETHEUS_JOB}?passing"
    (found,) = httpx.get(where, timeout=10, trust_env=False).json()
    return Prometheus(f"http://{found['Service']['Address']}:{found['Service']['Port']}")


def test_it_finds_and_reads_everything(life: Life, watching: Prometheus) -> None:
    wanted = {"aivailable-controllers": 2, "aivailable-gateways": 2, "aivailable-feeders": 2, "aivailable-engines": 2}

    def read() -> bool:
        jobs = [target["labels"]["job"] for target in watching.targets() if target["health"] == "up"]
        return {job: jobs.count(job) for job in jobs} == wanted

    eventually(read, timeout_s=60)
    assert "by mutual TLS" in life.ok("status")
    replicas = {(str(r.replica), r.node, r.address) for r in life.wait_until_serving(2)}
    engines = [e["metric"] for e in watching.query('up{job="aivailable-engines"} == 1')]
    assert {(e["replica"], e["node"], e["instance"]) for e in engines} == replicas
    assert {(e["model"], e["engine"]) for e in engines} == {("m", "llamacpp")}
    assert watching.query("sum(aivailable_leading)")[0]["value"][1] == "1"


def test_when_the_gateway_that_it_asks_is_gone_it_asks_the_other(life: Life, watching: Prometheus) -> None:
    def asked() -> set[str]:
        return {t["scrapeUrl"].split("/")[2] for t in watching.targets() if "/engines/" in t["scrapeUrl"]}

    (first,) = eventually(lambda: found if len(found := asked()) == 1 else None, timeout_s=30) or ()
    (node,) = [node for node in NODES if f"{life.rack.address(node)}:8081" == first]
    (envoy, *_) = life.pids(node, "envoy --config-path")
    os.kill(envoy, signal.SIGSTOP)
    try:
        eventually(lambda: first not in asked(), timeout_s=60)
        eventually(lambda: len(watching.query('up{job="aivailable-engines"} == 1')) == 2, timeout_s=60)
    finally:
        os.kill(envoy, signal.SIGCONT)
