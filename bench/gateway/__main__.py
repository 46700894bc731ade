"""`python -m bench.gateway [--rows A,B] [--connections N] [--body-kb K] [--rounds N] [--json]`.

Without options it measures all that the goals are about, in at most twelve minutes: 32 connections, one, 256, one
thread alone (for mutual TLS), bodies of 68 kB, 500 streams. `--connections` or `--body-kb` measure one thing.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aivailable.errors import AivailableError
from bench.gateway import peers, report
from bench.gateway.measuring import ROWS, WORKERS, Asked, requests, started, streamed, summary
from bench.gateway.upstream import Upstream, upstream
from bench.tables import machine

SLOW = ("litellm",)
STREAMS = 500
STREAM_ROWS = ("direct", "bare", "full", "vllm-router")
USUAL_KB, LONG_KB = 1.2, 68.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench.gateway", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", default=",".join(ROWS), help="which of " + ",".join(ROWS))
    parser.add_argument("--connections", type=int, help="one measurement with so many connections")
    parser.add_argument("--body-kb", type=float, help="one measurement with bodies of so many kB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    wanted = options.rows.split(",")
    if unknown := [row for row in wanted if row not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    try:
        # Tables are for people; with --json they would stand before what a program reads.
        with contextlib.redirect_stdout(io.StringIO()) if options.json else contextlib.nullcontext():
            found = _measure(wanted, options)
    except AivailableError as error:
        print(f"error: {error.message}\n\nhint: {error.hint}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    if options.json:
        print(json.dumps(found, indent=2))


def _measure(wanted: list[str], options: argparse.Namespace) -> dict[str, Any]:
    print(f"The gateway beside its peers ({machine()})")
    skipped = {row: why for row in wanted if row in peers.PEERS and (why := peers.missing(row))}
    for row, why in skipped.items():
        print(f"{row} is skipped: {why}", file=sys.stderr)
    rows = tuple(row for row in ROWS if row in wanted and row not in skipped)
    found: dict[str, Any] = {"machine": machine(), "workers": WORKERS, "skipped": skipped}
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as name, upstream(Path(name)) as engines:
        folder = Path(name)
        for key, asked in _plan(rows, options).items():
            found[key] = _requests(folder, asked, engines, options.rounds)
        streaming = tuple(row for row in STREAM_ROWS if row in rows)
        if streaming and options.connections is None and options.body_kb is None:
            found["streams"] = {
                row: summary(runs) for row, runs in streamed(folder, streaming, STREAMS, options.rounds).items()
            }
            report.show_streams(STREAMS, found["streams"])
    found |= report.headline(found)
    told = report.goals(found)
    found["goals"] = [{"name": n, "wanted": g, "measured": v, "met": met} for n, g, v, met in told]
    if told:
        report.show_goals(told)
    return found


def _plan(rows: tuple[str, ...], options: argparse.Namespace) -> dict[str, Asked]:
    seconds = options.seconds
    if options.connections is not None or options.body_kb is not None:
        kib = options.body_kb if options.body_kb is not None else USUAL_KB
        key = "requests" if kib < LONG_KB else "long"
        many = options.connections or 32
        return {key: Asked(name="requests", rows=rows, connections=many, body_kib=kib, seconds=seconds)}
    quick = tuple(row for row in rows if row not in SLOW)
    compared = tuple(row for row in quick if row not in ("haproxy", "smg", "vllm-router-rr"))
    tls = tuple(row for row in rows if row in ("full", "full-mtls"))
    plan = {
        "requests": Asked(name="requests", rows=rows, seconds=seconds),
        "single": Asked(name="one at a time", rows=quick, connections=1, seconds=seconds),
        "many": Asked(name="many", rows=compared, connections=256, seconds=seconds),
        "long": Asked(name="long prompts", rows=quick, connections=8, body_kib=LONG_KB, seconds=seconds),
    }
    if len(tls) > 1:
        plan["alone"] = Asked(name="mutual TLS, one thread", rows=tls, seconds=seconds, workers=1)
    return plan


def _requests(folder: Path, asked: Asked, engines: Upstream, rounds: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        started(Path(place), asked.rows, engines, asked.workers) as at,
    ):
        found = {row: summary(runs) for row, runs in requests(folder, asked, at, rounds).items()}
    report.show(asked, found)
    sys.stdout.flush()
    return found


if __name__ == "__main__":
    main()
