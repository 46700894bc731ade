"""When requests come and how long they are: in the shape of a trace, at the rate that is asked for. Pure.

The gaps between requests keep their proportions, so bursts and lulls stay; only their scale changes, such that exactly
`rate * seconds` requests come in `seconds`. Lengths are shortened to what stand-in engines can say in a few seconds.
"""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

TRACE = Path(__file__).parents[1] / "data" / "requests" / "AzureLLMInferenceTrace_conv_2023_excerpt.csv"

GAP_MAX = 20.0
"""Longest gap, in mean gaps: what the trace itself hardly ever exceeds, so that a cut in it makes no silence."""
SHORTENED = 8
"""One word of an answer for so many tokens of the trace: its median of 129 becomes 16."""
WORDS_MAX = 60
PROMPT_BYTES_MAX = 8192
STREAMED = 0.5
"""Share of requests that are answered as a stream."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request of a trace: seconds since the one before it, tokens in and out."""

    gap_s: float
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request to send: when (seconds from the start), to which model, how long, and how it is answered."""

    number: int
    at_s: float
    model: str
    words: int
    prompt_bytes: int
    streamed: bool


def read_trace(path: Path = TRACE) -> tuple[TraceRow, ...]:
    """A trace with the columns TIMESTAMP, ContextTokens, GeneratedTokens, in order of time."""
    rows: list[TraceRow] = []
    before: datetime | None = None
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            # The trace has seven digits of a second, Python reads six.
            now = datetime.fromisoformat(row["TIMESTAMP"][:26])
            gap_s = (now - before).total_seconds() if before else 0.0
            rows.append(TraceRow(max(0.0, gap_s), int(row["ContextTokens"]), int(row["GeneratedTokens"])))
            before = now
    return tuple(rows)


def arrivals(
    trace: Sequence[TraceRow], models: Sequence[str], *, rate: float, seconds: float, seed: int
) -> tuple[Arrival, ...]:
    """All requests of a run. The seed chooses where in the trace it begins, the models and who streams."""
    rng = random.Random(seed)
    count = round(rate * seconds)
    first = rng.randrange(len(trace))
    rows = [trace[(first + number) % len(trace)] for number in range(count)]
    gap_max_s = GAP_MAX * sum(row.gap_s for row in trace) / len(trace)
    gaps_s = [min(row.gap_s, gap_max_s) for row in rows]
    scale = seconds / (sum(gaps_s) or 1.0)
    found, at_s = [], 0.0
    for number, (row, gap_s) in enumerate(zip(rows, gaps_s, strict=True)):
        at_s += gap_s * scale
        found.append(
            Arrival(
                number=number,
                at_s=at_s,
                model=rng.choice(models),
                words=max(1, min(WORDS_MAX, round(row.tokens_out / SHORTENED))),
                prompt_bytes=max(1, min(PROMPT_BYTES_MAX, row.tokens_in)),
                streamed=rng.random() < STREAMED,
            )
        )
    return tuple(found)
