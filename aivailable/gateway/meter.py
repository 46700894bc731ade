"""Reads Envoy's counters now and then, keeps this gateway's usage in the store, and says who is over budget."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aivailable.documents import dump_usage, load_usage
from aivailable.errors import AivailableError
from aivailable.gateway.admin import METRICS_PATH, ask
from aivailable.gateway.routes import OTHER
from aivailable.gateway.usage import STAT_PREFIX
from aivailable.model.service import USAGE_PREFIX, ApiKey
from aivailable.model.usage import Cell, Counts, GatewayUsage, per_key_of_day, per_key_of_minute
from aivailable.seams import Registry

DAYS_KEPT = 62
MINUTES_KEPT = 3

_COUNTERS = {
    "requests": "requests",
    "prompt_tokens": "prompt",
    "completion_tokens": "completion",
    "cached_tokens": "cached",
    "unknown": "unknown",
}
_LINE = re.compile(rf"^envoy_{STAT_PREFIX}_(\w+)\{{(.*)\}} (\d+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_log = logging.getLogger(__name__)


class Meter:
    """One gateway's usage. Envoy counts from its start; what it counted before is in the store."""

    def __init__(self, registry: Registry, directory: Path, name: str) -> None:
        self._registry = registry
        self._directory = directory
        self._key = f"{USAGE_PREFIX}{name}"
        self._seen: dict[Cell, Counts] = {}
        self._own: GatewayUsage | None = None

    def tick(self, now_s: float) -> None:
        """Add what was counted since the last tick.

        Raises:
            AivailableError: The store does not answer; what was counted is added with the next tick.
        """
        own = self._own if self._own is not None else self._read_own()
        counted = read_counters(self._directory)
        # Envoy that was started anew counts from nothing: then all of it is new.
        fresh = {cell: _since(counts, self._seen.get(cell, Counts())) for cell, counts in counted.items()}
        fresh = {cell: counts for cell, counts in fresh.items() if counts != Counts()}
        after = add(own, fresh, now_s)
        if after != own:
            self._registry.put(self._key, dump_usage(after))
        self._own, self._seen = after, {**self._seen, **counted}

    def over_budget(self, keys: Iterable[ApiKey], now_s: float) -> dict[str, int]:
        """Keys that have used up their tokens, over all gateways, and in how many seconds they may ask again."""
        limited = [key for key in keys if key.tpm or key.tokens_per_day]
        if not limited:
            return {}
        everyone = read_usage(self._registry)
        today, minute = day_of(now_s), int(now_s // 60)
        by_day, by_minute = per_key_of_day(everyone.values(), today), per_key_of_minute(everyone.values(), minute)
        found: dict[str, int] = {}
        for key in limited:
            if key.tokens_per_day and by_day.get(key.id, 0) >= key.tokens_per_day:
                midnight = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0) + timedelta(days=1)
                found[key.id] = max(1, round(midnight.timestamp() - now_s))
            elif key.tpm and by_minute.get(key.id, 0) >= key.tpm:
                found[key.id] = max(1, round(60 * (minute + 1) - now_s))
        return found

    def _read_own(self) -> GatewayUsage:
        entry = self._registry.get(self._key)
        try:
            return load_usage(entry.value, where=f"key {self._key}") if entry else GatewayUsage()
        except AivailableError as error:
            _log.warning("usage begins anew after: %s", error)
            return GatewayUsage()


def read_usage(registry: Registry) -> dict[str, GatewayUsage]:
    """The usage that each gateway has counted, by its name; a document that cannot be read is left out, with a word."""
    found: dict[str, GatewayUsage] = {}
    for key in registry.keys(USAGE_PREFIX):
        try:
            if entry := registry.get(key):
                found[key.removeprefix(USAGE_PREFIX)] = load_usage(entry.value, where=f"key {key}")
        except AivailableError as error:
            _log.warning("%s", error)
    return found


def day_of(now_s: float) -> str:
    """The day in UTC."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d")


def add(own: GatewayUsage, fresh: Mapping[Cell, Counts], now_s: float) -> GatewayUsage:
    """The usage with what is new put on today and this minute; what is too old goes."""
    if not fresh:
        return own
    today, minute = day_of(now_s), int(now_s // 60)
    models = {key: dict(of) for key, of in own.days.get(today, {}).items()}
    tokens = dict(own.minutes.get(minute, {}))
    for (key, model), counts in fresh.items():
        of = models.setdefault(key, {})
        of[model] = of.get(model, Counts()) + counts
        if counts.tokens:
            tokens[key] = tokens.get(key, 0) + counts.tokens
    days = {**own.days, today: models}
    minutes = {**own.minutes, minute: tokens}
    return replace(
        own,
        days={day: days[day] for day in sorted(days)[-DAYS_KEPT:]},
        minutes={one: of for one, of in minutes.items() if one > minute - MINUTES_KEPT},
    )


def read_counters(directory: Path) -> dict[Cell, Counts]:
    """What a directory's Envoy has counted since it started, by key and model; nothing while it does not answer."""
    return parse_counters(ask(directory, f"{METRICS_PATH}?filter=^{STAT_PREFIX}%5C."))


def parse_counters(text: str) -> dict[Cell, Counts]:
    """Counters in Prometheus' text form; requests without a key or without a known model are nobody's."""
    found: dict[Cell, dict[str, int]] = defaultdict(dict)
    for line in text.splitlines():
        counter = _LINE.match(line)
        if not counter or counter[1] not in _COUNTERS:
            continue
        labels = {name: _plain(value) for name, value in _LABEL.findall(counter[2])}
        key, model = labels.get("client", ""), labels.get("model", "")
        if not key or not model or model == OTHER:
            continue
        if counter[1] == "requests" and labels.get("code") != "200":
            continue
        name = _COUNTERS[counter[1]]
        found[key, model][name] = found[key, model].get(name, 0) + int(counter[3])
    return {cell: Counts(**numbers) for cell, numbers in found.items()}


def _since(now: Counts, before: Counts) -> Counts:
    if now.requests < before.requests or now.completion < before.completion:
        return now
    return Counts(
        requests=now.requests - before.requests,
        prompt=max(0, now.prompt - before.prompt),
        completion=now.completion - before.completion,
        cached=max(0, now.cached - before.cached),
        unknown=max(0, now.unknown - before.unknown),
    )


def _plain(value: str) -> str:
    return value.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
