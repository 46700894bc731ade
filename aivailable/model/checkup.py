"""What is looked at on a real cluster, and what was found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from aivailable.model.cards import Node


class Level(StrEnum):
    """How a finding is meant. Only `problem` makes an exit code 1."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    level: Level
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the doctor wants to know of one node beyond its cards. None where it could not be asked.

    `clock_ahead_s` is how far its clock is ahead of ours, in seconds.
    """

    node: Node
    nomad_version: str
    consul_version: str
    cni: bool
    clock_ahead_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """What the agent that was asked says of its own configuration; None for what it is not or does not tell.

    Times in seconds. The two heartbeat settings may be those of a server that it knows; `granted_ttl_s` is how long it
    may be silent itself, as servers told it, without their grace.
    """

    nomad_version: str
    heartbeat_grace_s: float | None = None
    min_heartbeat_ttl_s: float | None = None
    granted_ttl_s: float | None = None
    max_kill_timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """Everything that was asked of a real cluster. `agent` is None where the token may not read it.

    `mesh_off` is why Consul gives no certificates, `wrong_intentions` what it decides against our rules; replicas are
    counted by whether they are reached by mutual TLS. `addons` are those that were added, and whether each is healthy.
    """

    agent: AgentFacts | None
    nodes: tuple[NodeFacts, ...] = ()
    controllers: int = 0
    gateways: int = 0
    leader: bool = False
    wanted_kill_timeout_s: float = 0.0
    fleet_mesh: str = "none"
    mesh_off: str = ""
    wrong_intentions: tuple[str, ...] = ()
    replicas_meshed: int = 0
    replicas_plain: int = 0
    addons: Mapping[str, bool] = field(default_factory=dict)
