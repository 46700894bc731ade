"""What the doctor asks a real Nomad: versions, settings of the agent, clocks. Reads only."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from aivailable.clients.nomad_api import NomadApi
from aivailable.clients.nomad_views import CNI_BRIDGE, node_of
from aivailable.errors import AivailableError
from aivailable.model.checkup import AgentFacts, NodeFacts

_NS = 1e9
_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
HEARTBEAT_DEFAULT_S = 10.0
"""Of both heartbeat settings (nomad/config.go, 2.0.5); an agent whose configuration has none says 0."""
SERVER_LOOK_S = 0.5
"""How long a server's API may take to accept a connection before it is out of reach."""


def agent_facts(api: NomadApi) -> AgentFacts | None:
    """What the agent behind the address says of its configuration; None where the token may not read it.

    Heartbeats are servers' business: where the agent is none, the first server that can be reached is asked.
    """
    try:
        document = api.get("/v1/agent/self") or {}
    except AivailableError:
        return None
    facts = facts_of(document)
    if facts.heartbeat_grace_s is None:
        for server in _servers(api):
            try:
                theirs = facts_of(server.get("/v1/agent/self") or {})
            except AivailableError:
                continue
            finally:
                server.close()
            grace_s, ttl_s = theirs.heartbeat_grace_s, theirs.min_heartbeat_ttl_s
            return replace(facts, heartbeat_grace_s=grace_s, min_heartbeat_ttl_s=ttl_s)
    return facts


def facts_of(document: dict[str, Any]) -> AgentFacts:
    """The facts in an agent's answer to `/v1/agent/self`."""
    config = document.get("config") or {}
    server, client = config.get("Server") or {}, config.get("Client") or {}
    serves = server.get("Enabled")
    return AgentFacts(
        nomad_version=str((config.get("Version") or {}).get("Version", "")),
        heartbeat_grace_s=server.get("HeartbeatGrace", 0) / _NS or HEARTBEAT_DEFAULT_S if serves else None,
        min_heartbeat_ttl_s=server.get("MinHeartbeatTTL", 0) / _NS or HEARTBEAT_DEFAULT_S if serves else None,
        granted_ttl_s=_seconds(((document.get("stats") or {}).get("client") or {}).get("heartbeat_ttl")),
        max_kill_timeout_s=_seconds(client.get("MaxKillTimeout")) if client.get("Enabled") else None,
    )


def _servers(api: NomadApi) -> Iterator[NomadApi]:
    """The servers whose API answers under the agent's own port."""
    where = urlsplit(api.settings.address)
    try:
        members = (api.get("/v1/agent/members") or {}).get("Members") or []
    except AivailableError:
        return
    for member in members:
        host, port = str(member["Addr"]), where.port or 4646
        try:
            socket.create_connection((host, port), SERVER_LOOK_S).close()
        except OSError:
            continue
        shown = f"[{host}]" if ":" in host else host
        address = f"{where.scheme}://{shown}:{port}"
        yield NomadApi(api.settings.model_copy(update={"address": address, "unix_address": ""}))


def node_facts(api: NomadApi, *, now: Callable[[], float] = time.time) -> tuple[NodeFacts, ...]:
    """Every node that is not gone, with what only it can tell asked from it."""
    stubs = [stub for stub in api.get("/v1/nodes", resources="true") or [] if stub["Status"] != "down"]
    return tuple(_node(api, stub, now) for stub in sorted(stubs, key=lambda stub: str(stub["Name"])))


def _node(api: NomadApi, stub: dict[str, Any], now: Callable[[], float]) -> NodeFacts:
    detail = api.get(f"/v1/node/{stub['ID']}") or {}
    attributes = detail.get("Attributes") or {}
    return NodeFacts(
        node=node_of(stub, detail, ()),
        nomad_version=str(stub.get("Version", "")),
        consul_version=str(attributes.get("consul.version", "")),
        cni=CNI_BRIDGE in attributes,
        clock_ahead_s=_clock(api, stub["ID"], now),
    )


def _clock(api: NomadApi, node_id: str, now: Callable[[], float]) -> float | None:
    """How far a node's clock is ahead: its latest measurement is up to a second old, so a little behind is nothing."""
    try:
        stats = api.get("/v1/client/stats", node_id=node_id) or {}
    except AivailableError:
        return None
    return stats["Timestamp"] / _NS - now() if stats.get("Timestamp") else None


def _seconds(duration: object) -> float | None:
    """A Go duration such as `10m0s` in seconds."""
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", str(duration or ""))
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts) if parts else None
