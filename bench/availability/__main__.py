"""`python -m bench.availability [--seconds N] [--seed N] [--rate R] [--nomad] [--without MECHANISM] [--json]`.

Clients ask two gateways at a steady rate while a seeded schedule breaks what stands behind them. Without `--nomad` on
the embedded cluster. docs/availability.md says what is measured and how.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aivailable.cli.serving import one_interrupt
from aivailable.errors import AivailableError, PermanentError, UserError
from bench.availability import evidence
from bench.availability.arrivals import arrivals, read_trace
from bench.availability.attribution import attribute
from bench.availability.backend import MODELS, Backend
from bench.availability.chaos import Chaos
from bench.availability.client import Load, stopwatch
from bench.availability.embedded import embedded
from bench.availability.real import real
from bench.availability.report import Run, report, show
from bench.availability.schedule import schedule
from bench.availability.without import MECHANISMS
from bench.tables import machine


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print; exit code 1 when the benchmark itself went wrong."""
    parser = argparse.ArgumentParser(prog="bench.availability", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load")
    parser.add_argument("--seed", type=int, default=1, help="of the load and of the faults")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second, on average")
    parser.add_argument("--nomad", action="store_true", help="on real Nomad and Consul, in network namespaces")
    parser.add_argument("--without", choices=MECHANISMS, default="", help="one mechanism switched off")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="keep logs and state in this new directory (embedded)")
    options = parser.parse_args(arguments)
    try:
        with one_interrupt():
            found = _run(options)
    except AivailableError as error:
        print(f"error: {error.message}\n\nhint: {error.hint}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.nomad and options.without:
        raise UserError(
            "--without works on the embedded cluster only: on a real one the parts are the product's own",
            hint="leave --nomad away",
        )
    if options.nomad:
        with real() as running:
            return measure(running, "nomad", options)
    with _folder(options.keep) as folder, embedded(folder, without=options.without) as backend:
        return measure(backend, "embedded", options)


def measure(backend: Backend, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Load and chaos on a running system; gives the report.

    Raises:
        PermanentError: The benchmark itself went wrong: what it found is no measurement.
    """
    asked = arrivals(read_trace(), MODELS, rate=options.rate, seconds=options.seconds, seed=options.seed)
    clock_s = stopwatch()
    load = Load(gateways=lambda: backend.gateways, key=backend.key, clock_s=clock_s)
    chaos = Chaos(backend=backend, clock_s=clock_s, seconds=options.seconds)
    cpu_s = time.thread_time()
    with chaos.unleashed(schedule(backend.offered, seconds=options.seconds, seed=options.seed)):
        asyncio.run(load.run(asked))
    cpu_s = time.thread_time() - cpu_s
    if chaos.errors:
        raise PermanentError("the benchmark went wrong: " + "; ".join(chaos.errors))
    attribute(load.records, chaos.done)
    evidence.collect(load.records, backend.access_logs)
    run = Run(
        machine=machine(),
        backend=name,
        seconds=options.seconds,
        rate=options.rate,
        seed=options.seed,
        without=options.without,
    )
    found = report(run, load.records, chaos.done, overcommitted_mib=chaos.overcommitted_mib, looks=chaos.looks)
    return {**found, "skipped": chaos.skipped, "client_cores": round(cpu_s / options.seconds, 3)}


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True)
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="bench-availability-", ignore_cleanup_errors=True) as name:
        yield Path(name)


if __name__ == "__main__":
    main()
