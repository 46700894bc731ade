"""One mechanism switched off, to see what it is worth. Embedded only: parts are made of the product's own objects."""

import re
from dataclasses import replace

from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.gateway.policies import Policies

MECHANISMS = ("retries", "ejection", "soft-placement", "controller")

_NODE = re.compile(r'affinity \{(\s*attribute = "\$\{node\.unique\.id\}"\s*value\s*= "[^"]*")\s*weight\s*= 100\s*\}')
_CARD = re.compile(r'affinity \{(\s*attribute = "\$\{device\.attr\.uuid\}"[^}]*?)\s*weight\s*= 100\s*\}')


def policies(read: Policies, without: str) -> Policies:
    """The gateway's policies without retries, or without ejection of engines that fail."""
    if without == "retries":
        return replace(read, retry={"retry_on": "", "num_retries": 0})
    if without == "ejection":
        return replace(read, upstream={k: v for k, v in read.upstream.items() if k != "outlier_detection"})
    return read


class HardPlacement(EmbeddedCluster):
    """A cluster whose jobs must run where the plan wants them: nobody but the controller can place them elsewhere."""

    def submit(self, job_id: str, text: str, *, index: int | None = None) -> None:
        """Register a job with its affinities made constraints."""
        super().submit(job_id, hardened(text), index=index)


def hardened(text: str) -> str:
    """The text of a job with the affinities for its node and its card made constraints.

    Raises:
        ValueError: There are none: the template has changed.
    """
    text, nodes = _NODE.subn(r"constraint {\1\n    }", text)
    text, cards = _CARD.subn(r"constraint {\1\n          }", text)
    if not nodes or not cards:
        raise ValueError("the job has no affinities to harden")
    return text
