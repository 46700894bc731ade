"""The systemd units for a controller and a gateway outside Nomad, on a living host: found, serving, drained."""

import json
import shutil
import time
from collections.abc import Iterator

import pytest

from tests.deploy.host import PACKAGE, Host, one_host, why_not
from tests.deploy.scripts import DEPLOY, SIMULATED
from tests.processes import ROOT, eventually
from tests.weights import smollm2

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "they are there"),
]
NODE = ("--server", "--client", "--bind", "127.0.0.1", "--name", "node1", *SIMULATED, "--package", PACKAGE)
NOMAD = ("--nomad-binary", str(shutil.which("nomad")))
UNITS = ("aivailable-gateway", "aivailable-controller")
FROM_A_CHECKOUT = "[Service]\nDynamicUser=no\nProtectHome=no\nPrivateTmp=no\n"
"""The program that the tests start lies where root's files and temporary ones are; else the units are as shipped."""


def install(host: Host, drop_in: str) -> None:
    """The steps of docs/packaging.md."""
    source = DEPLOY / "systemd"
    host.ok(
        "sh", "-c", f"cp {source}/aivailable-*.consul.hcl /etc/aivailable/; cp {source}/*.service /etc/systemd/system/"
    )
    host.ok("install", "-m", "600", str(source / "aivailable.env"), "/etc/aivailable/aivailable.env")
    for unit in UNITS if drop_in else ():
        folder = f"/etc/systemd/system/{unit}.service.d"
        host.ok("sh", "-c", f"mkdir {folder}; printf '{drop_in}' >{folder}/test.conf")
    host.ok("systemctl", "daemon-reload")


def passing(host: Host, service: str) -> int:
    return len(json.loads(host.run("curl", "-s", f"http://127.0.0.1:8500/v1/health/service/{service}?passing").stdout))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with one_host(tmp_path_factory.mktemp("units") / "host") as booted:
        booted.node_sh(*NODE, *NOMAD)
        install(booted, FROM_A_CHECKOUT.replace("\n", "\\n"))
        eventually(lambda: "ready" in booted.run("nomad", "node", "status").stdout, timeout_s=60)
        yield booted


@pytest.mark.engine
def test_a_cluster_is_served_without_a_job_of_ours(host: Host) -> None:
    smollm2()
    for unit in UNITS:
        host.ok("systemctl", "start", unit)
    eventually(lambda: passing(host, "llm") and passing(host, "aivailable-controller"), timeout_s=40)
    assert host.run("dig", "@127.0.0.1", "-p", "8600", "llm.service.consul", "+short").stdout == "127.0.0.1\n"

    host.ok("aivailable", "keys", "create", "alice")
    host.ok("aivailable", "deploy", str(ROOT / "examples" / "demo.toml"), "--yes")
    asked = ("chat", "smollm2-135m-instruct", "What is the capital of France?", "--temperature", "0")
    assert "Paris" in host.ok("aivailable", *asked)
    jobs = [job["ID"] for job in json.loads(host.run("curl", "-s", "http://127.0.0.1:4646/v1/jobs").stdout)]
    assert all(job.startswith("llm-") for job in jobs)


def test_a_gateway_that_crashes_is_back_and_one_that_is_stopped_leaves_consul_first(host: Host) -> None:
    host.ok("systemctl", "start", "aivailable-gateway")
    eventually(lambda: passing(host, "llm"), timeout_s=40)
    host.ok("systemctl", "kill", "--kill-whom=main", "-s", "KILL", "aivailable-gateway")
    restarts = ("systemctl", "show", "-P", "NRestarts", "aivailable-gateway")
    eventually(lambda: host.run(*restarts).stdout == "1\n" and passing(host, "llm"), timeout_s=40)

    begun = time.monotonic()
    host.ok("systemctl", "stop", "aivailable-gateway", timeout_s=60)
    assert 2 < time.monotonic() - begun < 20
    assert host.run("curl", "-s", "http://127.0.0.1:8500/v1/catalog/service/llm").stdout == "[]"
    assert host.run("systemctl", "show", "-P", "Result", "aivailable-gateway").stdout == "success\n"


def test_a_gateway_serves_before_consul_does(host: Host) -> None:
    host.ok("systemctl", "stop", "aivailable-gateway", "consul", timeout_s=60)
    host.ok("systemctl", "start", "--no-block", "aivailable-gateway")
    ready = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8081/ready")
    eventually(lambda: host.run(*ready).stdout == "200", timeout_s=60)

    host.ok("systemctl", "start", "consul")
    eventually(lambda: host.run("consul", "members").returncode == 0 and passing(host, "llm"), timeout_s=60)
