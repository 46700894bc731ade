"""node.sh on living hosts: two machines with systemd become a server and a node with cards; recut; left again."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.host import PACKAGE, Host, hosts, why_not
from tests.deploy.scripts import DEPLOY, SIMULATED
from tests.processes import eventually

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "they are there"),
]
SCRIPT = DEPLOY / "node.sh"
SERVER = ("--server", "--name", "server", "--package", PACKAGE)
CLIENT = ("--client", "--join", "10.77.0.1", "--name", "node1", "--class", "turing", *SIMULATED, "--package", PACKAGE)
JOB = """
job "holds-slices" {
  group "g" {
    consul {}
    task "t" {
      driver = "raw_exec"
      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }
      resources {
        device "nvidia/vram" {
          count = 6
        }
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with hosts(tmp_path_factory.mktemp("hosts")) as booted:
        yield booted


def ask(host: Host, path: str) -> Any:
    return json.loads(host.run("curl", "-s", f"http://127.0.0.1:4646/v1{path}").stdout or "null")


def cards(server: Host) -> dict[str, int]:
    """The slice size by card, of nodes that are ready."""
    return {
        device["Name"]: device["Attributes"]["slice_mib"]["Int"]
        for node in ask(server, "/nodes?resources=true") or ()
        if node["Status"] == "ready"
        for device in node["NodeResources"]["Devices"] or ()
    }


def test_two_hosts_become_a_cluster_with_cards(pair: tuple[Host, Host]) -> None:
    server, node = pair
    assert "server is a node now (10.77.0.1)" in server.node_sh(*SERVER)
    assert "node1 is a node now (10.77.0.2)" in node.node_sh(*CLIENT)

    assert set(eventually(lambda: cards(server), timeout_s=60).values()) == {512}
    (known,) = ask(server, "/nodes")
    assert (known["Name"], known["NodeClass"], known["Address"]) == ("node1", "turing", "10.77.0.2")
    members = server.ok("consul", "members")
    assert "10.77.0.1:8301" in members
    assert "10.77.0.2:8301" in members
    assert "consul" in server.ok("ps", "-o", "user=", "-C", "consul")
    assert node.run("stat", "-c", "%F", "/run/consul/http.sock").stdout.strip() == "socket"


def test_a_second_run_touches_nothing_on_a_living_node(pair: tuple[Host, Host]) -> None:
    server, node = pair
    before = [host.ok("systemctl", "show", "-p", "MainPID", "nomad", "consul") for host in pair]

    assert server.node_sh(*SERVER) == "nothing to change: server is a node already\n"
    assert node.node_sh(*CLIENT) == "nothing to change: node1 is a node already\n"
    assert [host.ok("systemctl", "show", "-p", "MainPID", "nomad", "consul") for host in pair] == before


def test_the_apis_are_not_reached_from_another_host(pair: tuple[Host, Host]) -> None:
    _, node = pair
    for port in (4646, 8500):
        assert node.run("curl", "-s", "-m", "2", f"http://10.77.0.1:{port}/v1/status/leader").returncode == 7


def test_an_agent_that_is_restarted_leaves_what_runs(pair: tuple[Host, Host]) -> None:
    server, node = pair
    server.ok("sh", "-c", f"printf '%s' '{JOB}' >/root/job.hcl; nomad job run -detach /root/job.hcl")
    pid = eventually(lambda: node.run("pgrep", "-f", "sleep 1000").stdout, timeout_s=40)

    said = node.node_sh(*CLIENT, "--rack", "rack7")

    assert "starting nomad" in said
    assert "starting consul" not in said
    assert node.run("pgrep", "-f", "sleep 1000").stdout == pid


@pytest.mark.parametrize("words", [("reslice", "--slice-mib", "1024"), ("leave",)], ids=["reslice", "leave"])
def test_running_engines_are_not_stopped_unless_forced(pair: tuple[Host, Host], words: tuple[str, ...]) -> None:
    server, node = pair
    engine = JOB.replace("holds-slices", "llm-model-0-12345678").replace("1000", "2000")
    server.ok("sh", "-c", f"printf '%s' '{engine}' >/root/engine.hcl; nomad job run -detach /root/engine.hcl")
    pid = eventually(lambda: node.run("pgrep", "-f", "sleep 2000").stdout, timeout_s=40)

    refused = node.run(str(SCRIPT), *words, "--deadline", "2s")

    assert refused.returncode == 2
    assert "engines run here (1)" in refused.stderr
    assert "hint: 'aivailable drain node1' first" in refused.stderr
    assert node.run("pgrep", "-f", "sleep 2000").stdout == pid
    server.ok("nomad", "job", "stop", "-purge", "-detach", "llm-model-0-12345678")
    eventually(lambda: not node.run("pgrep", "-f", "sleep 2000").stdout, timeout_s=40)


def test_reslice_drains_cuts_and_takes_the_node_back(pair: tuple[Host, Host]) -> None:
    server, node = pair
    said = node.node_sh("reslice", "--slice-mib", "1024", "--deadline", "2s")
    assert "slices have 1024 MiB now" in said

    assert eventually(lambda: set(cards(server).values()) == {1024}, timeout_s=60)
    eventually(lambda: node.run("pgrep", "-f", "sleep 1000").stdout, timeout_s=60)
    (known,) = ask(server, "/nodes")
    assert (known["SchedulingEligibility"], known["Drain"]) == ("eligible", False)
    assert "nothing to change" in node.node_sh("reslice", "--slice-mib", "1024")
    server.ok("nomad", "node", "eligibility", "-disable", known["ID"])
    assert "'aivailable undrain node1'" in node.node_sh("reslice", "--slice-mib", "512", "--deadline", "2s")
    (known,) = ask(server, "/nodes")
    assert (known["SchedulingEligibility"], known["Drain"]) == ("ineligible", False)
    assert "takes none now" in node.node_sh("reslice", "--slice-mib", "1024", "--deadline", "2s")
    server.ok("nomad", "node", "eligibility", "-enable", known["ID"])
    eventually(lambda: node.run("pgrep", "-f", "sleep 1000").stdout, timeout_s=60)
    assert "nothing to change" in node.node_sh(*CLIENT, "--rack", "rack7"), "the size stays without being said again"


def test_a_configuration_that_nomad_refuses_is_found_before_anything_is_restarted(pair: tuple[Host, Host]) -> None:
    server, _ = pair
    pid = server.ok("systemctl", "show", "-p", "MainPID", "nomad")
    server.ok("sh", "-c", "echo 'servr {' >/etc/aivailable/nomad.d/own.hcl")

    done = server.run(str(SCRIPT), *SERVER, "--open-api")

    assert done.returncode == 1
    assert "Nomad does not take its configuration" in done.stderr
    assert server.ok("systemctl", "show", "-p", "MainPID", "nomad") == pid
    server.ok("rm", "/etc/aivailable/nomad.d/own.hcl")


def test_a_node_that_leaves_keeps_its_models_and_nothing_else(pair: tuple[Host, Host]) -> None:
    server, node = pair
    node.ok("sh", "-c", "echo weights >/var/lib/aivailable/models/model.gguf")

    node.node_sh("leave", "--deadline", "2s")

    assert node.run("pgrep", "-f", "sleep 1000").stdout == ""
    assert node.ok("find", "/etc/aivailable", "/var/lib/aivailable", "-type", "f") == (
        "/var/lib/aivailable/models/model.gguf\n"
    )
    assert node.run("systemctl", "is-active", "nomad", "consul").stdout.split() == ["inactive", "inactive"]
    assert "left" in server.ok("consul", "members")
    assert "is no node" in node.run(str(SCRIPT), "leave").stderr
