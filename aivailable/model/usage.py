"""What keys have used of which model, and what they may use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests that an engine answered, and their tokens.

    `prompt` includes `cached`, the part that the engine had computed before. `unknown` counts the answers that told no
    usage: their tokens are in none of the others.
    """

    requests: int = 0
    prompt: int = 0
    completion: int = 0
    cached: int = 0
    unknown: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            requests=self.requests + other.requests,
            prompt=self.prompt + other.prompt,
            completion=self.completion + other.completion,
            cached=self.cached + other.cached,
            unknown=self.unknown + other.unknown,
        )

    @property
    def tokens(self) -> int:
        """What counts against a budget."""
        return self.prompt + self.completion


Cell = tuple[str, str]
"""A key's id and a model's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayUsage:
    """What one gateway has counted: per day (UTC, `2026-11-23`), key and model; and tokens per minute and key.

    Minutes are whole minutes since 1970; only the newest are kept.
    """

    days: Mapping[str, Mapping[str, Mapping[str, Counts]]] = field(default_factory=dict)
    minutes: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def per_key_of_day(usages: Iterable[GatewayUsage], day: str) -> dict[str, int]:
    """Tokens by key on one day, over all gateways."""
    found: dict[str, int] = {}
    for usage in usages:
        for key, models in usage.days.get(day, {}).items():
            found[key] = found.get(key, 0) + sum(counts.tokens for counts in models.values())
    return found


def per_key_of_minute(usages: Iterable[GatewayUsage], minute: int) -> dict[str, int]:
    """Tokens by key in one minute, over all gateways."""
    found: dict[str, int] = {}
    for usage in usages:
        for key, tokens in usage.minutes.get(minute, {}).items():
            found[key] = found.get(key, 0) + tokens
    return found
