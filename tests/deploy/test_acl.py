"""A cluster that asks for tokens: everything works by workload identities and small policies, and nothing beyond."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
NODE = ("--server", "--client", "--bind", "127.0.0.1", "--name", "node1", *SIMULATED, "--package", PACKAGE, "--acl")
APPLY = str(DEPLOY / "policies" / "apply.sh")
WEBUI = "aivailable-open-webui"
PROBE = """
job "@ID@" {
  group "g" {
    task "t" {
      driver = "raw_exec"
      identity {
        env = true
      }
      config {
        command = "/bin/sleep"
        args    = ["@SECONDS@"]
      }
    }
  }
}
"""


@dataclass(frozen=True)
class Secured:
    """A host whose Nomad asks for tokens, and the tokens of who may do what, by name."""

    host: Host
    tokens: dict[str, str]

    def ask(self, who: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A request to Nomad with somebody's token; the status and what came."""
        words = ["curl", "-s", "-X", method, "-w", "\n%{http_code}", "-H", f"X-Nomad-Token: {self.tokens[who]}"]
        words += ["-d", json.dumps(body)] if body is not None else []
        text, _, status = self.host.run(*words, f"http://127.0.0.1:4646/v1{path}").stdout.rpartition("\n")
        return int(status), json.loads(text) if text.startswith(("{", "[")) else text

    def ready(self) -> bool:
        """Whether the node is there with its cards."""
        nodes = self.ask("manager", "GET", "/nodes?resources=true")[1]
        return any(n["Status"] == "ready" and n["NodeResources"]["Devices"] for n in nodes if isinstance(n, dict))

    def aivailable(self, who: str, *words: str) -> str:
        return self.host.ok("aivailable", *words, NOMAD_TOKEN=self.tokens[who], NO_COLOR="1")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with one_host(tmp_path_factory.mktemp("acl") / "host") as host:
        assert "nomad acl bootstrap" in host.node_sh(*NODE)
        boot = eventually(lambda: host.run("nomad", "acl", "bootstrap", "-json").stdout, timeout_s=40)
        manager = str(json.loads(boot)["SecretID"])
        for _ in range(2):
            assert "Successfully wrote" in host.ok(APPLY, NOMAD_TOKEN=manager)
        policies = {"user": ["user"], "operator": ["user", "operator"], "stranger": []}
        tokens = {"manager": manager} | {who: _token(host, manager, who, names) for who, names in policies.items()}
        up = Secured(host, tokens)
        eventually(up.ready, timeout_s=60)
        yield up


def _token(host: Host, manager: str, who: str, policies: list[str]) -> str:
    if not policies:  # a token needs a policy: one that gives nothing
        host.ok("sh", "-c", "echo 'agent { policy = \"deny\" }' | nomad acl policy apply none -", NOMAD_TOKEN=manager)
    names = [word for name in policies or ["none"] for word in ("-policy", f"aivailable-{name}" if policies else name)]
    made = host.ok("nomad", "acl", "token", "create", "-json", "-name", who, *names, NOMAD_TOKEN=manager)
    return str(json.loads(made)["SecretID"])


def _workload(secured: Secured, job: str, pattern: str) -> str:
    """The token of a running job's task, from its environment."""
    pid = eventually(lambda: secured.host.run("pgrep", "-o", "-f", "--", pattern).stdout, timeout_s=40).strip()
    environ = secured.host.ok("cat", f"/proc/{pid}/environ")
    (token,) = re.findall(r"\0NOMAD_TOKEN=([^\0]+)\0", f"\0{environ}\0")
    assert f"NOMAD_JOB_ID={job}" in environ
    return str(token)


@pytest.mark.envoy
@pytest.mark.engine
def test_up_deploy_and_an_answer_with_no_token_in_any_job(secured: Secured) -> None:
    smollm2()
    assert "Up." in secured.aivailable("operator", "up")
    fleet = str(ROOT / "examples" / "demo.toml")
    secured.aivailable("user", "deploy", fleet, "--yes")

    asked = ("chat", "smollm2-135m-instruct", "What is the capital of France?", "--temperature", "0")
    assert "Paris" in secured.aivailable("user", *asked)
    assert "node1" in secured.aivailable("user", "nodes")
    secured.aivailable("user", "doctor")
    assert secured.aivailable("user", "logs", "smollm2-135m-instruct")
    secured.aivailable("user", "keys", "create", "alice")
    for job in secured.ask("manager", "GET", "/jobs")[1]:
        (text,) = [json.dumps(secured.ask("manager", "GET", f"/job/{job['ID']}")[1])]
        assert not [who for who, token in secured.tokens.items() if token in text]


@pytest.mark.envoy
def test_a_gateway_reads_keys_and_nothing_else(secured: Secured) -> None:
    secured.aivailable("operator", "up")
    secured.aivailable("user", "keys", "create", "bob")
    secured.ask("manager", "PUT", "/var/aivailable/hub", {"Path": "aivailable/hub", "Items": {"token": "hf"}})
    secured.ask("manager", "PUT", "/var/other", {"Path": "other", "Items": {"a": "b"}})
    secured.tokens["gateway"] = _workload(secured, "aivailable-gateway", "--cluster nomad gateway")

    status, found = secured.ask("gateway", "GET", "/vars?prefix=aivailable/")
    assert status == 200
    paths = [entry["Path"] for entry in found]
    assert paths
    assert all(path.startswith("aivailable/keys/") for path in paths)
    assert secured.ask("gateway", "GET", f"/var/{paths[0]}")[0] == 200
    denied = [
        ("GET", "/var/aivailable/hub", None),
        ("GET", "/var/other", None),
        ("PUT", f"/var/{paths[0]}", {"Path": paths[0], "Items": {"secret": "mine"}}),
        ("DELETE", f"/var/{paths[0]}", None),
        ("GET", "/nodes", None),
        ("GET", "/job/aivailable-controller", None),
        ("PUT", "/jobs", _job(secured, "llm-mine")),
        ("DELETE", "/job/aivailable-controller", None),
        ("GET", "/acl/tokens", None),
    ]
    assert [(path, secured.ask("gateway", method, path, body)[0]) for method, path, body in denied] == [
        (path, 403) for _, path, _ in denied
    ]
    assert secured.ask("gateway", "GET", "/jobs")[0] in (200, 403)
    assert not [job for job in secured.ask("gateway", "GET", "/jobs")[1] if isinstance(job, dict)]


def test_a_controller_starts_and_stops_jobs_and_of_secrets_reads_the_keys_that_open_its_page(secured: Secured) -> None:
    secured.aivailable("operator", "up")
    if secured.ask("manager", "GET", "/var/aivailable/keys/bob")[0] != 200:
        secured.aivailable("user", "keys", "create", "bob")
    secured.tokens["controller"] = _workload(secured, "aivailable-controller", "--cluster nomad controller")

    assert secured.ask("controller", "PUT", "/jobs", _job(secured, "llm-started"))[0] == 200
    node = secured.ask("controller", "GET", "/nodes")[1][0]["ID"]
    allowed = ["/jobs?prefix=llm-", "/allocations?namespace=*", f"/node/{node}", f"/client/stats?node_id={node}"]
    allowed += ["/var/aivailable/keys/bob"]
    assert [secured.ask("controller", "GET", path)[0] for path in allowed] == [200] * len(allowed)
    assert secured.ask("controller", "DELETE", "/job/llm-started?purge=true")[0] == 200
    denied = [
        ("PUT", "/var/aivailable/keys/bob", {"Path": "aivailable/keys/bob", "Items": {"secret": "mine"}}),
        ("GET", "/var/aivailable/hub", None),
        ("PUT", f"/node/{node}/drain", {"NodeID": node, "DrainSpec": None}),
        ("PUT", f"/node/{node}/purge", None),
        ("GET", "/acl/policies", None),
        ("GET", "/agent/self", None),
    ]
    refused = {path: secured.ask("controller", method, path, body) for method, path, body in denied}
    assert {path: status for path, (status, _) in refused.items() if status != 403} == {"/acl/policies": 200}
    assert {entry["Name"] for entry in refused["/acl/policies"][1]} <= {"aivailable-controller", "aivailable-engine"}


def test_an_engine_reads_the_hub_token_and_nothing_else(secured: Secured) -> None:
    assert secured.ask("manager", "PUT", "/jobs", _job(secured, "llm-probe", seconds=4321))[0] == 200
    secured.ask("manager", "PUT", "/var/aivailable/hub", {"Path": "aivailable/hub", "Items": {"token": "hf"}})
    secured.aivailable("user", "keys", "create", "carol")
    secured.tokens["engine"] = _workload(secured, "llm-probe", "sleep 4321")

    assert secured.ask("engine", "GET", "/var/aivailable/hub")[1]["Items"] == {"token": "hf"}
    assert [entry["Path"] for entry in secured.ask("engine", "GET", "/vars?prefix=aivailable/")[1]] == [
        "aivailable/hub"
    ]
    for method, path in (("GET", "/var/aivailable/keys/carol"), ("GET", "/nodes"), ("PUT", "/var/aivailable/hub")):
        assert secured.ask("engine", method, path, {"Path": "aivailable/hub", "Items": {"token": "x"}})[0] == 403, path
    assert secured.ask("engine", "PUT", "/jobs", _job(secured, "llm-mine"))[0] == 403
    secured.ask("manager", "DELETE", "/job/llm-probe?purge=true")


def test_open_webui_reads_its_own_key_and_its_own_secret_and_nothing_else(secured: Secured) -> None:
    secured.aivailable("user", "keys", "create", "dora")
    secured.ask("manager", "PUT", "/var/aivailable/hub", {"Path": "aivailable/hub", "Items": {"token": "hf"}})
    for path in (f"nomad/jobs/{WEBUI}", "nomad/jobs/other"):
        secured.ask("manager", "PUT", f"/var/{path}", {"Path": path, "Items": {"WEBUI_SECRET_KEY": "kept"}})
    secured.aivailable("user", "keys", "create", "open-webui")
    assert secured.ask("manager", "PUT", "/jobs", _job(secured, WEBUI, seconds=5432))[0] == 200
    secured.tokens["open-webui"] = _workload(secured, WEBUI, "sleep 5432")

    allowed = ("aivailable/keys/open-webui", f"nomad/jobs/{WEBUI}")
    assert [secured.ask("open-webui", "GET", f"/var/{path}")[0] for path in allowed] == [200, 200]
    own = secured.ask("open-webui", "GET", f"/var/{allowed[0]}")[1]
    denied = [("GET", f"/var/{path}", None) for path in ("aivailable/keys/dora", "aivailable/hub", "nomad/jobs/other")]
    denied += [("PUT", f"/var/{allowed[0]}", own), ("GET", "/nodes", None), ("PUT", "/jobs", _job(secured, "mine"))]
    assert [(path, secured.ask("open-webui", method, path, body)[0]) for method, path, body in denied] == [
        (path, 403) for _, path, _ in denied
    ]
    secured.ask("manager", "DELETE", f"/job/{WEBUI}?purge=true")


@pytest.mark.envoy
def test_an_operator_adds_open_webui_which_finds_the_models(secured: Secured) -> None:
    """A stand-in in place of Open WebUI: it asks the endpoint with the key that its job's identity may read."""
    by_command = {
        "AIVAILABLE_OPEN_WEBUI_COMMAND": f"{sys.executable} {ROOT / 'tests' / 'real' / 'chat_page.py'}",
        "AIVAILABLE_ENVOY_COMMAND": str(Path(sys.executable).parent / "envoy"),
    }
    words = ("aivailable", "up", "--with", "open-webui")
    secured.host.ok(*words, timeout_s=150, NOMAD_TOKEN=secured.tokens["operator"], **by_command)

    models = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:3000/models")
    eventually(lambda: secured.host.run(*models).stdout == "200", timeout_s=30)
    assert "open-webui is healthy" in secured.aivailable("operator", "doctor")


def test_a_person_who_deploys_starts_no_job_and_sees_no_hub_token(secured: Secured) -> None:
    node = secured.ask("user", "GET", "/nodes")[1][0]["ID"]
    assert secured.ask("user", "PUT", "/jobs", _job(secured, "mine"))[0] == 403
    assert secured.ask("user", "GET", "/var/aivailable/hub")[0] == 403
    assert secured.ask("user", "PUT", f"/node/{node}/drain", {"NodeID": node, "DrainSpec": None})[0] == 403
    assert secured.ask("operator", "PUT", f"/node/{node}/drain", {"NodeID": node, "DrainSpec": None})[0] == 200
    assert secured.ask("operator", "GET", "/acl/tokens")[0] == 403
    assert secured.ask("stranger", "GET", "/nodes")[0] == 403
    assert secured.ask("stranger", "GET", "/var/aivailable/keys/bob")[0] == 403


def _job(secured: Secured, job: str, *, seconds: int = 1000) -> object:
    """A small job as Nomad parses it."""
    text = PROBE.replace("@ID@", job).replace("@SECONDS@", str(seconds))
    status, parsed = secured.ask("manager", "PUT", "/jobs/parse", {"JobHCL": text, "Canonicalize": True})
    assert status == 200, parsed
    return {"Job": parsed}
