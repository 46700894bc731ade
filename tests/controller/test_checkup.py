"""What the doctor says of a real cluster, from facts alone."""

import re
from dataclasses import replace

import pytest

from aivailable.clients.nomad_facts import facts_of
from aivailable.controller.checkup import HEARTBEATS, judge
from aivailable.model.checkup import AgentFacts, ClusterFacts, Finding, Level, NodeFacts
from tests.processes import ROOT
from tests.samples import card, node

AGENT = AgentFacts(nomad_version="2.0.5", heartbeat_grace_s=1.0, min_heartbeat_ttl_s=2.0, max_kill_timeout_s=600.0)
NODE = NodeFacts(
    node=node(
        "node1",
        card("Tesla T4", 15360, node="node1"),
        vendor_plugin="aivailable",
        drivers=("docker", "raw_exec"),
        meta={"aivailable_consul": "http://127.0.0.1:8500"},
    ),
    nomad_version="2.0.5",
    consul_version="1.22.1",
    cni=True,
    clock_ahead_s=-0.4,
)
WELL = ClusterFacts(
    agent=AGENT,
    nodes=(NODE,),
    controllers=2,
    gateways=2,
    leader=True,
    wanted_kill_timeout_s=30.0,
    fleet_mesh="bridge",
    replicas_meshed=2,
)


def bad(facts: ClusterFacts) -> list[Finding]:
    return [finding for finding in judge(facts) if finding.level is not Level.OK]


def test_a_cluster_that_is_well_has_no_finding_but_good_ones() -> None:
    assert bad(WELL) == []
    assert any(finding.text == "node1: 1 card, by the plugin aivailable" for finding in judge(WELL))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (replace(WELL, nodes=()), "no node is ready"),
        (replace(WELL, agent=None), "the agent's settings cannot be read"),
        (replace(WELL, agent=replace(AGENT, heartbeat_grace_s=10.0, min_heartbeat_ttl_s=10.0)), "after 20 to 30 s"),
        (replace(WELL, agent=replace(AGENT, heartbeat_grace_s=5.0)), "after 7 to 9 s"),
        (replace(WELL, agent=replace(AGENT, heartbeat_grace_s=None)), "could not be read: this agent is no server"),
        (replace(WELL, agent=replace(AGENT, heartbeat_grace_s=None, granted_ttl_s=3.2)), "own TTL is 3.2 s, without"),
        (replace(WELL, agent=replace(AGENT, heartbeat_grace_s=None, granted_ttl_s=15.3)), "be silent for 15 s and a"),
        (replace(WELL, agent=replace(AGENT, max_kill_timeout_s=20.0)), "max_kill_timeout is 20 s; engines"),
        (replace(WELL, agent=replace(AGENT, nomad_version="1.8.4")), "Nomad 1.8.4 is too old"),
        (replace(WELL, nodes=(replace(NODE, nomad_version="1.10.3"),)), "several versions: 1.10.3, 2.0.5"),
        (replace(WELL, nodes=(replace(NODE, consul_version="1.7.0"),)), "Consul 1.7.0 is too old"),
        (replace(WELL, nodes=(replace(NODE, consul_version=""),)), "node1: no Consul agent"),
        (replace(WELL, nodes=(replace(NODE, cni=False),)), "node1: no CNI plugins"),
        (replace(WELL, fleet_mesh="none", replicas_plain=2), "no mesh: 2 engines are reached without TLS"),
        (replace(WELL, mesh_off="Consul's service mesh is off"), "mesh is off"),
        (replace(WELL, wrong_intentions=("llm may not speak to llm-engine",)), "intentions: llm may not speak"),
        (replace(WELL, replicas_plain=1), "1 engines are reached without TLS, 2 by the mesh"),
        (replace(WELL, nodes=(replace(NODE, clock_ahead_s=-90.0),)), "node1: its clock is -90 s off ours"),
        (replace(WELL, nodes=(replace(NODE, node=replace(NODE.node, ready=False)),)), "node1: not ready"),
        (replace(WELL, nodes=(replace(NODE, node=replace(NODE.node, cards=())),)), "node1: no cards"),
        (replace(WELL, nodes=(replace(NODE, node=replace(NODE.node, meta={})),)), "the meta aivailable_consul"),
        (replace(WELL, nodes=(replace(NODE, node=replace(NODE.node, drivers=("docker",))),)), "raw_exec"),
        (
            replace(WELL, nodes=(replace(NODE, node=replace(NODE.node, vendor_plugin="aivailable+hashicorp")),)),
            "two device plugins (aivailable+hashicorp) give out the same cards",
        ),
        (
            replace(
                WELL,
                nodes=(
                    NODE,
                    replace(NODE, node=replace(NODE.node, cards=(card("T4", 15360, node="n", slice_mib=1024),))),
                ),
            ),
            "slices of different sizes: 512, 1024 MiB",
        ),
        (replace(WELL, controllers=0, gateways=0), "AIvailable itself does not run here"),
        (replace(WELL, gateways=0), "2 controllers, 0 gateways healthy"),
        (replace(WELL, leader=False), "no controller leads"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(facts: ClusterFacts, words: str) -> None:
    (found,) = [finding for finding in bad(facts) if words in finding.text]

    assert found.hint


def test_an_unhealthy_card_is_named() -> None:
    sick = replace(NODE.node, cards=(card("Tesla T4", 15360, node="node1", healthy=False),))

    assert any("Tesla T4" in finding.text for finding in bad(replace(WELL, nodes=(replace(NODE, node=sick),))))


def test_settings_that_a_server_does_not_name_are_nomads_own() -> None:
    config = {"Server": {"Enabled": True, "HeartbeatGrace": 0, "MinHeartbeatTTL": 2_000_000_000}}

    facts = facts_of({"config": config, "stats": {"client": {"heartbeat_ttl": "3.5s"}}})

    assert (facts.heartbeat_grace_s, facts.min_heartbeat_ttl_s, facts.granted_ttl_s) == (10.0, 2.0, 3.5)


def test_the_heartbeats_that_are_recommended_are_those_that_node_sh_writes() -> None:
    written = (ROOT / "deploy" / "nomad-server.hcl").read_text()

    pair = dict(re.findall(r'(\w+) = "(\d+s)"', HEARTBEATS))

    assert pair == {"min_heartbeat_ttl": "2s", "heartbeat_grace": "1s"}
    assert all(re.search(rf'{name} *= "{value}"', written) for name, value in pair.items())
