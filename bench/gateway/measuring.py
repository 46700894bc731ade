"""The rows of a measurement, run in rounds, each round in another order: what disturbs the machine disturbs all."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.gateway import ours, streams
from bench.gateway.load import Run, ask, body
from bench.gateway.peers import PEERS
from bench.gateway.upstream import Upstream

ROWS = ("direct", "bare", "full", "full-mtls", "x-model", "vllm-router", "vllm-router-rr", "smg", "haproxy", "litellm")
WORKERS = 2
"""Threads of our Envoys, the product's default; peers have theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One measurement: who is asked, by how many connections, with what body, for how long."""

    name: str
    rows: tuple[str, ...]
    connections: int = 32
    body_kib: float = 1.2
    seconds: int = 2
    workers: int = WORKERS


@contextmanager
def started(folder: Path, rows: Sequence[str], engines: Upstream, workers: int) -> Iterator[dict[str, tuple[int, int]]]:
    """All rows at once, idle until they are asked; gives pid and port of each."""
    found: dict[str, tuple[int, int]] = {}
    with ExitStack() as running:
        for row in rows:
            place = folder / f"{row}-{workers}"
            if row == "direct":
                found[row] = (0, engines.ports[0])
            elif row == "bare":
                found[row] = running.enter_context(ours.bare(place, engines.ports, workers=workers))
            elif row == "full-mtls":
                meshed = ours.full(place, engines.tls_ports, mesh=engines.mesh, workers=workers)
                found[row] = running.enter_context(meshed)
            elif row in ("full", "x-model"):
                found[row] = running.enter_context(ours.full(place, engines.ports, workers=workers))
            else:
                found[row] = running.enter_context(PEERS[row](place, engines.ports))
        yield found


def requests(folder: Path, asked: Asked, at: Mapping[str, tuple[int, int]], rounds: int) -> dict[str, list[Run]]:
    """The runs of each row."""
    found: dict[str, list[Run]] = {row: [] for row in asked.rows}
    sent = body(asked.body_kib)
    for number in range(rounds):
        for row in rotated(asked.rows, number):
            pid, port = at[row]
            headers = ours.headers(x_model=row == "x-model")
            found[row].append(
                ask(
                    port,
                    pid,
                    folder,
                    connections=asked.connections,
                    seconds=asked.seconds,
                    sent=sent,
                    headers=headers,
                )
            )
    return found


def streamed(
    folder: Path, rows: Sequence[str], count: int, rounds: int, workers: int = WORKERS
) -> dict[str, list[streams.Streams]]:
    """The streams of each row, from a source of their own."""
    found: dict[str, list[streams.Streams]] = {row: [] for row in rows}
    with streams.source(folder) as port, ExitStack() as running:
        at = {"direct": port}
        for row in rows:
            place = folder / f"{row}-streams"
            if row == "bare":
                at[row] = running.enter_context(ours.bare(place, (port,), workers=workers))[1]
            elif row in ("full", "x-model"):
                at[row] = running.enter_context(ours.full(place, (port,), workers=workers))[1]
            elif row != "direct":
                at[row] = running.enter_context(PEERS[row](place, (port,)))[1]
        for number in range(rounds):
            for row in rotated(rows, number):
                found[row].append(streams.listen(at[row], count, ours.headers(x_model=row == "x-model")))
    return found


def rotated(rows: Sequence[str], number: int) -> list[str]:
    """The rows, beginning with another one each round."""
    first = number % len(rows)
    return [*rows[first:], *rows[:first]]


def summary(runs: Sequence[Run] | Sequence[streams.Streams]) -> dict[str, dict[str, float]]:
    """Median, least and greatest of every figure."""
    found = {}
    for field in fields(runs[0]):
        values = [float(asdict(run)[field.name]) for run in runs]
        found[field.name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return found
