"""What is wrong with a real cluster, and how to mend it. `judge` is pure."""

import re
from collections.abc import Iterator

from aivailable.clients.nomad import NomadCluster
from aivailable.clients.nomad_api import NomadApi
from aivailable.clients.nomad_facts import agent_facts, node_facts
from aivailable.controller.addons import ADDONS, running_addons
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.mesh import wrong_intentions
from aivailable.controller.system import CONSUL_META
from aivailable.errors import UserError
from aivailable.model.checkup import AgentFacts, ClusterFacts, Finding, Level, NodeFacts
from aivailable.model.service import CONTROLLER_SERVICE, ENGINE_SERVICE, GATEWAY_SERVICE, LEADER_KEY
from aivailable.seams import Certificates, Intentions, Registry
from aivailable.settings import Settings

NOMAD_MIN = (1, 9)
CONSUL_MIN = (1, 8)
NODE_LOST_S = 8.0
"""A node whose heartbeats stop should be known to be lost by then, for its replicas to be started elsewhere in 15 s."""
HEARTBEATS = 'server { min_heartbeat_ttl = "2s", heartbeat_grace = "1s" } on every server'
CLOCK_OFF_S = 3.0
"""More than measurements' age and a slow answer explain."""
NODE_SH = "deploy/node.sh sets it"


def cluster_facts(
    api: NomadApi, registry: Registry, certificates: Certificates, intentions: Intentions, settings: Settings
) -> ClusterFacts:
    """Ask Nomad and Consul.

    Raises:
        AivailableError: Nomad or Consul does not answer.
    """
    leader = registry.get(LEADER_KEY)
    engines = registry.instances(ENGINE_SERVICE)
    return ClusterFacts(
        agent=agent_facts(api),
        nodes=node_facts(api),
        controllers=sum(instance.passing for instance in registry.instances(CONTROLLER_SERVICE)),
        gateways=sum(instance.passing for instance in registry.instances(GATEWAY_SERVICE)),
        leader=leader is not None,
        wanted_kill_timeout_s=settings.kill_timeout_s,
        fleet_mesh=read_fleet(registry).fleet.mesh or "none",
        mesh_off=_mesh_off(certificates),
        wrong_intentions=tuple(wrong_intentions(intentions)),
        replicas_meshed=sum(engine.meshed for engine in engines),
        replicas_plain=sum(not engine.meshed for engine in engines),
        addons={
            addon.name: any(instance.passing for instance in registry.instances(addon.service))
            for addon in running_addons(NomadCluster(api))
        },
    )


def _mesh_off(certificates: Certificates) -> str:
    try:
        certificates.roots()
    except UserError as error:
        return error.message
    return ""


def judge(facts: ClusterFacts) -> Iterator[Finding]:
    """One finding for each thing that was looked at."""
    yield from _versions(facts)
    yield from _agent(facts)
    if not facts.nodes:
        yield Finding(Level.PROBLEM, "no node is ready", "make hosts nodes with deploy/node.sh --client")
    for node in facts.nodes:
        yield from _node(node)
    sizes = {card.slice_mib for n in facts.nodes for card in n.node.cards if card.device_type == "vram"}
    if len(sizes) > 1:
        yield Finding(
            Level.PROBLEM,
            f"nodes cut their cards into slices of different sizes: {', '.join(map(str, sorted(sizes)))} MiB",
            "one value for the whole cluster; `deploy/node.sh reslice` drains a node and changes it",
        )
    yield from _mesh(facts)
    yield from _system(facts)


def _versions(facts: ClusterFacts) -> Iterator[Finding]:
    found = {node.nomad_version for node in facts.nodes if node.nomad_version}
    if facts.agent and facts.agent.nomad_version:
        found.add(facts.agent.nomad_version)
    yield from _version("Nomad", found, NOMAD_MIN)
    yield from _version("Consul", {node.consul_version for node in facts.nodes if node.consul_version}, CONSUL_MIN)


def _version(part: str, found: set[str], least: tuple[int, int]) -> Iterator[Finding]:
    old = sorted(version for version in found if _numbers(version) < least)
    if old:
        wanted = ".".join(map(str, least))
        yield Finding(Level.PROBLEM, f"{part} {', '.join(old)} is too old", f"upgrade to {wanted} or newer")
    elif len(found) > 1:
        yield Finding(Level.NOTE, f"{part} runs in several versions: {', '.join(sorted(found))}", "finish the upgrade")
    elif found:
        yield Finding(Level.OK, f"the cluster runs {part} {next(iter(found))}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _agent(facts: ClusterFacts) -> Iterator[Finding]:
    agent = facts.agent
    if agent is None:
        yield Finding(Level.NOTE, "the agent's settings cannot be read", "a token with agent:read shows them")
        return
    yield _heartbeats(agent)
    if agent.max_kill_timeout_s is not None and agent.max_kill_timeout_s < facts.wanted_kill_timeout_s:
        yield Finding(
            Level.PROBLEM,
            f"max_kill_timeout is {agent.max_kill_timeout_s:g} s; engines get {facts.wanted_kill_timeout_s:g} s to end",
            f'client {{ max_kill_timeout = "10m" }}; {NODE_SH}',
        )


def _heartbeats(agent: AgentFacts) -> Finding:
    """How soon Nomad knows that a node is dead: a TTL of once to twice the least one, by chance, then the grace.

    Nomad 2.0.5, nomad/heartbeat.go.
    """
    ttl_s, grace_s, granted_s = agent.min_heartbeat_ttl_s, agent.heartbeat_grace_s, agent.granted_ttl_s
    if ttl_s is not None and grace_s is not None:
        text = f"a dead node is found after {ttl_s + grace_s:g} to {2 * ttl_s + grace_s:g} s"
        quick = 2 * ttl_s + grace_s <= NODE_LOST_S
        return Finding(Level.OK if quick else Level.NOTE, text, "" if quick else f"{HEARTBEATS}; {NODE_SH}")
    if granted_s is not None and granted_s > NODE_LOST_S:
        text = f"a dead node is found late: servers let this one be silent for {granted_s:.0f} s and a grace"
        return Finding(Level.NOTE, text, f"{HEARTBEATS}; {NODE_SH}")
    text = "the servers' heartbeat settings could not be read: this agent is no server, and none answers it"
    known = f"; this node's own TTL is {granted_s:.1f} s, without the grace" if granted_s is not None else ""
    return Finding(Level.NOTE, text + known, f"set NOMAD_ADDR to a server to see them; good ones: {HEARTBEATS}")


def _node(facts: NodeFacts) -> Iterator[Finding]:
    node, name = facts.node, facts.node.name
    wrong: list[Finding] = []
    if not node.ready:
        wrong.append(Finding(Level.PROBLEM, f"{name}: not ready", "look at its Nomad agent"))
    if "+" in node.vendor_plugin:
        wrong.append(
            Finding(
                Level.PROBLEM,
                f"{name}: two device plugins ({node.vendor_plugin}) give out the same cards",
                "remove HashiCorp's nvidia plugin from plugin_dir and from the agent's configuration",
            )
        )
    elif not node.cards:
        wrong.append(
            Finding(
                Level.NOTE, f"{name}: no cards", "is aivailable-gpu in plugin_dir and configured? see its agent's log"
            )
        )
    if CONSUL_META not in node.meta:
        wrong.append(
            Finding(
                Level.PROBLEM,
                f"{name}: the meta {CONSUL_META}, its Consul agent's address, is missing",
                f'client {{ meta {{ {CONSUL_META} = "http://127.0.0.1:8500" }} }}; {NODE_SH}',
            )
        )
    if "raw_exec" not in node.drivers:
        wrong.append(
            Finding(
                Level.PROBLEM,
                f"{name}: the task driver raw_exec, which fetches models, is off",
                f'plugin "raw_exec" {{ config {{ enabled = true }} }}; {NODE_SH}',
            )
        )
    if not facts.consul_version:
        wrong.append(Finding(Level.PROBLEM, f"{name}: no Consul agent", f"engines cannot register; {NODE_SH}"))
    if not facts.cni:
        wrong.append(Finding(Level.NOTE, f"{name}: no CNI plugins", f'needed for mesh = "bridge" only; {NODE_SH}'))
    if facts.clock_ahead_s is not None and abs(facts.clock_ahead_s) > CLOCK_OFF_S:
        wrong.append(
            Finding(
                Level.PROBLEM,
                f"{name}: its clock is {facts.clock_ahead_s:+.0f} s off ours",
                "certificates and events go by it: run an NTP client on every node",
            )
        )
    sick = [card for card in node.cards if not card.healthy]
    wrong += [
        Finding(Level.PROBLEM, f"{name}: card {card.name} ({card.uuid}) is unhealthy", "`aivailable nodes` shows it")
        for card in sick
    ]
    count = f"{len(node.cards)} card{'s' if len(node.cards) > 1 else ''}"
    yield from wrong or [Finding(Level.OK, f"{name}: {count}, by the plugin {node.vendor_plugin}")]


def _mesh(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.fleet_mesh == "none":
        plain = f"{facts.replicas_plain} engines are reached" if facts.replicas_plain else "engines are to be reached"
        yield Finding(Level.NOTE, f"no mesh: {plain} without TLS", 'deploy a fleet with [cluster] mesh = "bridge"')
        return
    if facts.mesh_off:
        yield Finding(Level.PROBLEM, facts.mesh_off, f"connect {{ enabled = true }} on every agent; {NODE_SH}")
        return
    for wrong in facts.wrong_intentions:
        yield Finding(Level.PROBLEM, f"intentions: {wrong}", "`aivailable up` writes the right ones")
    if facts.replicas_plain:
        text = f"{facts.replicas_plain} engines are reached without TLS, {facts.replicas_meshed} by the mesh"
        yield Finding(Level.NOTE, text, "those from before the mesh are replaced one by one; `aivailable status`")
    elif not facts.wrong_intentions:
        yield Finding(Level.OK, f"mesh {facts.fleet_mesh}: {facts.replicas_meshed} engines are reached by mutual TLS")


def _system(facts: ClusterFacts) -> Iterator[Finding]:
    if not facts.controllers and not facts.gateways:
        yield Finding(Level.NOTE, "AIvailable itself does not run here", "start it with `aivailable up`")
        return
    counts = f"{facts.controllers} controllers, {facts.gateways} gateways healthy"
    if not facts.gateways or not facts.controllers:
        yield Finding(Level.PROBLEM, counts, "`nomad job status aivailable-gateway`; then `aivailable up` again")
    elif facts.gateways == 1 and len(facts.nodes) > 1:
        yield Finding(Level.NOTE, f"{counts}: one gateway is no spare", "`aivailable up` starts two")
    else:
        yield Finding(Level.OK, counts)
    if not facts.leader:
        yield Finding(Level.PROBLEM, "no controller leads", "`nomad alloc logs` of a controller says why")
    for name, healthy in facts.addons.items():
        hint = "" if healthy else f"`nomad job status {ADDONS[name].job}`; `aivailable up --with {name}` starts it anew"
        words = "is healthy" if healthy else "is not healthy"
        yield Finding(Level.OK if healthy else Level.PROBLEM, f"{name} {words}", hint)
