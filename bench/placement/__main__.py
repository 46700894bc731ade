"""The placement's four benchmarks: `python -m bench.placement [--part scale|quality|utilisation|churn] [--json]`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bench.placement import catalogue, churn, openb, quality, scale, utilisation
from bench.tables import machine

PARTS = ("scale", "quality", "utilisation", "churn")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench.placement", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=PARTS, action="append", help="run this part only; may be repeated")
    parser.add_argument("--nodes", type=Path, default=openb.NODES, help="openb list of nodes (scale, churn)")
    parser.add_argument("--asks", type=Path, default=openb.ASKS, help="openb list of asks (scale, churn)")
    parser.add_argument("--fleet", type=Path, default=catalogue.RACK, help="rack, a row per card (utilisation)")
    parser.add_argument("--catalogue", type=Path, default=catalogue.CATALOGUE, help="models (utilisation)")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {"machine": machine()}
    for part in options.part or PARTS:
        found[part] = _run(part, options)
        if not options.json:
            print(flush=True)
    if options.json:
        print(json.dumps(found, indent=2))


def _run(part: str, options: argparse.Namespace) -> object:
    """One part; its table is printed unless JSON is wanted."""
    tables = not options.json
    if part == "scale":
        whole = scale.measure(options.nodes, options.asks)
        if tables:
            scale.show(whole, source=options.nodes.name)
        return whole
    if part == "quality":
        compared = quality.measure()
        if tables:
            quality.show(compared)
        return compared
    if part == "utilisation":
        filled = utilisation.measure(options.fleet, options.catalogue)
        if tables:
            utilisation.show(filled, source=options.fleet.name)
        return filled
    replayed = churn.measure(options.nodes, options.asks)
    if tables:
        churn.show(replayed, source=options.nodes.name)
    return replayed


if __name__ == "__main__":
    main()
