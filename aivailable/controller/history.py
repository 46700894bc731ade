"""What happened, as one list: the controller's decisions and the cluster's events."""

import re
from dataclasses import dataclass

from aivailable.controller.journal import read_decisions
from aivailable.seams import Cluster, Registry

_REPLICA_JOB = re.compile(r"llm-(.+)-(\d+)-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Happened:
    """One entry. `at_s` is Unix time; `about` names the model's slug and replica, or a node."""

    at_s: float
    about: str
    text: str


def history(cluster: Cluster, registry: Registry, *, limit: int) -> tuple[Happened, ...]:
    """The newest `limit` entries, oldest first."""
    decisions = [Happened(at_s=d.at_s, about=f"{d.model} #{d.replica}", text=d.text) for d in read_decisions(registry)]
    events = [Happened(at_s=e.at_s, about=_about(e.job) or e.node, text=e.text) for e in cluster.events(limit)]
    return tuple(sorted([*decisions, *events])[-limit:])


def _about(job: str) -> str:
    """The model's slug and replica number that a job id holds; other ids as they are."""
    found = _REPLICA_JOB.fullmatch(job)
    return f"{found[1]} #{found[2]}" if found else job
