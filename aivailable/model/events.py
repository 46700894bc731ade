"""What happened in the cluster, in words."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEvent:
    """One thing that happened. `at_s` is Unix time; `job` or `node` is empty where it does not apply."""

    at_s: float
    node: str = ""
    job: str = ""
    text: str
