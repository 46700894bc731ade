"""What the doctor asks a real Nomad: versions, settings of the agent, clocks. Reads only."""

import re
import time
from collections.abc import Callable
from typing import Any

from aivailable.clients.nomad_api import NomadApi
from aivailable.clients.nomad_views import CNI_BRIDGE, node_of
from aivailable.errors import AivailableError
from aivailable.model.checkup import AgentFacts, NodeFacts

_NS = 1e9
_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def agent_facts(api: NomadApi) -> AgentFacts | None:
    """What the agent behind the address says of its configuration; None where the token may not read it."""
    try:
        config = (api.get("/v1/agent/self") or {}).get("config") or {}
    except AivailableError:
        return None
    server, client = config.get("Server") or {}, config.get("Client") or {}
    return AgentFacts(
        nomad_version=str((config.get("Version") or {}).get("Version", "")),
        heartbeat_grace_s=server.get("HeartbeatGrace", 0) / _NS if server.get("Enabled") else None,
        min_heartbeat_ttl_s=server.get("MinHeartbeatTTL", 0) / _NS if server.get("Enabled") else None,
        max_kill_timeout_s=_seconds(client.get("MaxKillTimeout")) if client.get("Enabled") else None,
    )


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
