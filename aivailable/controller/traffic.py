"""What clients do with each model, from the counters of all gateways: rates over the last seconds. Pure.

The counters are those that Envoy keeps by `gateway/usage.py`, in Prometheus' text form.
"""

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from aivailable.gateway.clusters import cluster_name
from aivailable.gateway.usage import STAT_PREFIX

WINDOW_S = 10.0
"""Over which rates are taken: long enough that a slow model's requests do not flicker, short enough to see a stop."""
SERVER_ERROR = 500

_COUNTER = re.compile(rf"^envoy_{STAT_PREFIX}_(requests|completion_tokens)\{{(.*)\}} (\d+)$", re.MULTILINE)
_ACTIVE = re.compile(r'^envoy_cluster_upstream_rq_active\{envoy_cluster_name="([^"]+)"\} (\d+)$', re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One model's traffic over the last seconds, and requests in flight now.

    Requests that were answered, those of them with a server error (5xx), and completion tokens.
    """

    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    tokens_per_s: float = 0.0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one gateway has counted of a model since it started, and what is in flight there."""

    requests: int = 0
    errors: int = 0
    tokens: int = 0
    in_flight: int = 0

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Counted)})


def parse(text: str, models: Iterable[str]) -> dict[str, Counted]:
    """One gateway's counters by model, from the text of its `/metrics`."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for counter, labels, value in _COUNTER.findall(text):
        of = dict(_LABEL.findall(labels))
        model = of.get("model", "")
        if counter == "completion_tokens":
            found[model]["tokens"] += int(value)
            continue
        found[model]["requests"] += int(value)
        if of.get("code", "").isdigit() and int(of["code"]) >= SERVER_ERROR:
            found[model]["errors"] += int(value)
    active = {cluster: int(value) for cluster, value in _ACTIVE.findall(text)}
    return {model: Counted(**found.get(model, {}), in_flight=active.get(cluster_name(model), 0)) for model in models}


class Rates:
    """Turns counters that are read again and again into rates."""

    def __init__(self) -> None:
        self._before: dict[str, Mapping[str, Counted]] = {}
        self._grown: deque[tuple[float, float, Mapping[str, Counted]]] = deque()
        self._at_s: float | None = None

    def look(self, at_s: float, gateways: Mapping[str, Mapping[str, Counted]]) -> dict[str, Traffic]:
        """The traffic by model, with what each gateway has counted at a moment, by its name.

        A gateway that was not seen before, or counts from nothing again, adds what comes from now on.
        """
        grown: dict[str, Counted] = defaultdict(Counted)
        for name, counted in gateways.items():
            before = self._before.get(name)
            for model, now in counted.items():
                grown[model] += _since(now, before.get(model) if before is not None else now)
        if self._at_s is not None:
            self._grown.append((self._at_s, at_s, grown))
        self._at_s = at_s
        self._before = dict(gateways)  # one that was away begins anew: its requests are not of one look
        while len(self._grown) > 1 and self._grown[0][0] < at_s - WINDOW_S:
            self._grown.popleft()
        models = {model for counted in gateways.values() for model in counted}
        return {model: self._traffic(model, at_s, gateways) for model in models}

    def _traffic(self, model: str, at_s: float, gateways: Mapping[str, Mapping[str, Counted]]) -> Traffic:
        sums = sum((grown.get(model, Counted()) for _, _, grown in self._grown), Counted())
        over_s = at_s - self._grown[0][0] if self._grown else 0.0
        in_flight = sum(counted[model].in_flight for counted in gateways.values() if model in counted)
        if over_s <= 0:
            return Traffic(in_flight=in_flight)
        return Traffic(
            requests_per_s=sums.requests / over_s,
            errors_per_s=sums.errors / over_s,
            tokens_per_s=sums.tokens / over_s,
            in_flight=in_flight,
        )


def _since(now: Counted, before: Counted | None) -> Counted:
    anew = before is not None and (
        now.requests < before.requests or now.errors < before.errors or now.tokens < before.tokens
    )
    if before is None or anew:
        return Counted(requests=now.requests, errors=now.errors, tokens=now.tokens)
    return Counted(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        tokens=now.tokens - before.tokens,
    )
