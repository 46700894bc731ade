"""Consul asks for tokens, too: the steps of deploy/policies/README.md, and what each job's tasks may do then."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.deploy.host import PACKAGE, Host, one_host, why_not
from tests.deploy.scripts import DEPLOY, SIMULATED
from tests.processes import ROOT, eventually
from tests.weights import smollm2

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is there"),
]
NODE = ("--server", "--client", "--bind", "127.0.0.1", "--name", "node1", *SIMULATED, "--package", PACKAGE)
TOKEN_FILE = "/etc/aivailable/nomad.d/consul-token.hcl"
PROBE = """
job "@ID@" {
  group "g" {
    consul {}
    network {
      port "http" {}
    }
    service {
      name     = "@SERVICE@"
      port     = "http"
      provider = "consul"
    }
    task "t" {
      driver = "raw_exec"
      config {
        command = "/bin/sleep"
        args    = ["@SECONDS@"]
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, str]]:
    """A host after all steps, and the manager's token."""
    with one_host(tmp_path_factory.mktemp("consul-acl") / "host") as host:
        host.node_sh(*NODE, "--consul-acl")
        boot = eventually(lambda: host.run("consul", "acl", "bootstrap", "-format", "json").stdout, timeout_s=30)
        manager = str(json.loads(boot)["SecretID"])
        apply = str(DEPLOY / "policies" / "consul" / "apply.sh")
        for _ in range(2):
            said = host.ok(apply, CONSUL_HTTP_TOKEN=manager)
            assert "auth method nomad-workloads" in said
        agent = _token(host, manager, "-node-identity", "node1:dc1")
        host.ok("consul", "acl", "set-agent-token", "agent", agent, CONSUL_HTTP_TOKEN=manager)
        nomads = _token(host, manager, "-policy-name", "aivailable-nomad-agent")
        host.ok("sh", "-c", f"umask 077; echo 'consul {{ token = \"{nomads}\" }}' >{TOKEN_FILE}")
        host.ok("systemctl", "restart", "nomad")
        yield host, manager


def _token(host: Host, manager: str, *words: str) -> str:
    made = host.ok("consul", "acl", "token", "create", "-format", "json", *words, CONSUL_HTTP_TOKEN=manager)
    return str(json.loads(made)["SecretID"])


def _run(host: Host, job: str, service: str, seconds: int) -> None:
    """Run a job with a service, whose task sleeps; Nomad may just have been restarted."""
    text = PROBE.replace("@ID@", job).replace("@SERVICE@", service).replace("@SECONDS@", str(seconds))
    write_and_run = f"printf '%s' '{text}' >/root/job.hcl; nomad job run -detach /root/job.hcl"
    eventually(lambda: host.run("sh", "-c", write_and_run).returncode == 0, timeout_s=40)


def _workload(host: Host, job: str, service: str, seconds: int) -> str:
    """Run a job; the Consul token that its task found in its environment."""
    _run(host, job, service, seconds)
    pid = eventually(lambda: host.run("pgrep", "-f", f"sleep {seconds}").stdout, timeout_s=60).strip()
    environ = host.ok("cat", f"/proc/{pid}/environ")
    (token,) = re.findall(r"\0CONSUL_HTTP_TOKEN=([^\0]+)\0", f"\0{environ}\0")
    return str(token)


def status(host: Host, token: str, method: str, path: str) -> int:
    words = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-H", f"X-Consul-Token: {token}")
    body = ("-d", "x") if method == "PUT" else ()
    return int(host.run(*words, *body, f"http://127.0.0.1:8500/v1{path}").stdout)


def rights(host: Host, token: str) -> dict[str, set[str]]:
    """Of the keys that exist, which a token may read and which it may write."""
    keys = ("fleet", "leader", "events", "usage/a", "cache/n/1", "measured/1", "leaving/n", "failed")
    return {
        how: {key for key in keys if status(host, token, method, f"/kv/aivailable/{key}") == 200}
        for how, method in (("read", "GET"), ("write", "PUT"))
    }


def test_a_gateways_task_reads_the_fleet_and_its_service_is_found(secured: tuple[Host, str]) -> None:
    host, manager = secured
    for key in ("fleet", "leader", "events", "usage/a", "cache/n/1", "measured/1", "leaving/n", "failed"):
        assert status(host, manager, "PUT", f"/kv/aivailable/{key}") == 200

    token = _workload(host, "aivailable-gateway", "llm", 5001)

    assert rights(host, token) == {"read": {"fleet", "usage/a"}, "write": {"usage/a"}}
    seen = host.ok("curl", "-s", "-H", f"X-Consul-Token: {token}", "http://127.0.0.1:8500/v1/health/service/llm")
    assert [entry["Service"]["Service"] for entry in json.loads(seen)] == ["llm"]
    found = eventually(
        lambda: host.run("dig", "@127.0.0.1", "-p", "8600", "llm.service.consul", "+short").stdout, timeout_s=20
    )
    assert found == "127.0.0.1\n"


def test_an_engines_task_notes_what_the_node_has(secured: tuple[Host, str]) -> None:
    host, _ = secured
    token = _workload(host, "llm-model-0-12345678", "llm-engine", 5002)

    assert rights(host, token) == {"read": {"cache/n/1"}, "write": {"cache/n/1"}}


def test_the_task_of_prometheus_finds_what_it_reads_and_no_more(secured: tuple[Host, str]) -> None:
    host, _ = secured
    token = _workload(host, "aivailable-prometheus", "aivailable-prometheus", 5005)

    assert rights(host, token) == {"read": set(), "write": set()}
    assert status(host, token, "GET", "/agent/self") == 200
    seen = host.ok("curl", "-s", "-H", f"X-Consul-Token: {token}", "http://127.0.0.1:8500/v1/catalog/services")
    assert "aivailable-prometheus" in json.loads(seen)


def test_a_controllers_task_leads_and_does_not_write_the_fleet(secured: tuple[Host, str]) -> None:
    host, _ = secured
    token = _workload(host, "aivailable-controller", "aivailable-controller", 5003)

    assert rights(host, token) == {
        "read": {"fleet", "leader", "events", "cache/n/1", "measured/1", "leaving/n", "failed"},
        "write": {"leader", "events", "measured/1", "failed"},
    }
    assert status(host, token, "PUT", "/session/create?") in (200, 400), "may; 400 is for the body"


def test_a_person_writes_the_fleet_and_reads_the_rest(secured: tuple[Host, str]) -> None:
    host, manager = secured
    token = _token(host, manager, "-policy-name", "aivailable-user")

    can = rights(host, token)
    assert can["write"] == {"fleet"}
    assert len(can["read"]) == 8
    operator = _token(host, manager, "-policy-name", "aivailable-user", "-policy-name", "aivailable-operator")
    assert rights(host, operator)["write"] == {"fleet", "leaving/n"}


@pytest.mark.envoy
@pytest.mark.engine
def test_up_deploy_and_an_answer(secured: tuple[Host, str]) -> None:
    templates = [ROOT / "jobs" / f"{name}.nomad.hcl.j2" for name in ("controller", "gateway", "engine")]
    if missing := [template.name for template in templates if "consul {}" not in template.read_text()]:
        pytest.skip(f"no block consul {{}} in {', '.join(missing)}: their tasks get no token of Consul")
    smollm2()
    host, manager = secured
    for job in ("aivailable-controller", "aivailable-gateway", "llm-model-0-12345678"):
        host.run("nomad", "job", "stop", "-purge", job)
    status(host, manager, "DELETE", "/kv/aivailable/?recurse=true")
    token = _token(host, manager, "-policy-name", "aivailable-user", "-policy-name", "aivailable-operator")

    def aivailable(*words: str) -> str:
        return host.ok("aivailable", *words, CONSUL_HTTP_TOKEN=token, NO_COLOR="1")

    assert "Up." in aivailable("up")
    aivailable("deploy", str(ROOT / "examples" / "demo.toml"), "--yes")
    asked = ("chat", "smollm2-135m-instruct", "What is the capital of France?", "--temperature", "0")
    assert "Paris" in aivailable(*asked)
    assert "by mutual TLS" in aivailable("status")


def test_a_job_of_somebody_else_gets_no_rights(secured: tuple[Host, str]) -> None:
    host, _ = secured
    _run(host, "other", "other", 5004)

    said = eventually(lambda: re.search(r"Permission denied|failed to derive", _events(host, "other")), timeout_s=30)
    assert said
    assert not host.run("pgrep", "-f", "sleep 5004").stdout


def _events(host: Host, job: str) -> str:
    (alloc, *_) = [line.split()[0] for line in host.ok("nomad", "job", "allocs", job).splitlines()[-1:]]
    return host.ok("nomad", "alloc", "status", alloc)
