"""The queries of alerts and dashboard, and the names of the metrics in them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from aivailable.settings import shipped

MONITORING = shipped("monitoring")
OF_PROMETHEUS = frozenset({"up", "ALERTS"})
"""What Prometheus makes itself."""

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'")
_NO_METRIC = (
    re.compile(r"\{[^}]*\}"),  # matchers
    re.compile(r"\[[^\]]*\]"),  # ranges
    re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"),  # labels
    re.compile(r"\b[a-z_0-9]+\s*(?=\()"),  # functions
    re.compile(r"\b(?:and|or|unless|bool|offset)\b"),
    re.compile(r"\b[0-9][0-9a-zA-Z.]*\b"),
)
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_AGGREGATED = re.compile(r"\b(sum|min|max|avg|count)\s+(?=(?:by|without)\b)")


@dataclass(frozen=True)
class Query:
    """One expression, and where it stands."""

    where: str
    text: str

    @property
    def names(self) -> set[str]:
        return names_in(self.text)


def names_in(text: str) -> set[str]:
    """The metrics that a PromQL expression reads: what is left when all else is taken away."""
    left = _AGGREGATED.sub(" ", _TEXT.sub("", text))
    for pattern in _NO_METRIC:
        left = pattern.sub(" ", left)
    return set(_NAME.findall(left))


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "grafana.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def filled(text: str) -> str:
    """A query of the dashboard with Grafana's variables filled in."""
    values: Mapping[str, str] = {"$__rate_interval": "1m", "$__range": "1h", "$model": ".*"}
    for name, value in values.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def queries() -> Iterator[Query]:
    for alert in alerts():
        yield Query(f"alert {alert['alert']}", alert["expr"])
    for panel in panels():
        for target in panel["targets"]:
            yield Query(f"panel {panel['title']}", filled(target["expr"]))
