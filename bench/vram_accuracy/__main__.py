"""`python -m bench.vram_accuracy [OBSERVATIONS.csv] [--extra EXTRA.csv] [--models models.json] [--json]`."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from aivailable.errors import UserError
from bench.vram_accuracy.rows import read_rows
from bench.vram_accuracy.scores import LOW, Error, Found, compare, p90, summary

DATA = Path(__file__).parents[1] / "data"
QUANTITIES = ("whole_need", "weights", "kv_bytes_per_token", "activation_peak", "remainder", "compute_buffer")
NAMED = 6
"""Rows of the worst errors that the table names."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench.vram_accuracy", description="Footprints against observations.")
    parser.add_argument("observations", type=Path, nargs="?", default=DATA / "vram" / "observations.csv")
    parser.add_argument("--extra", type=Path, help="further columns by id; default: those of the default observations")
    parser.add_argument("--models", type=Path, default=DATA / "models.json", help="facts of models")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    default = options.observations == parser.get_default("observations")
    extra = options.extra or (DATA / "vram" / "observations-extra.csv" if default else None)
    try:
        found = compare(read_rows(options.observations, extra), _models(options.models))
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    if options.json:
        print(json.dumps(document(found), indent=2))
    else:
        _show(found)


def document(found: Found) -> dict[str, Any]:
    """The scores as `--json` prints them; errors are fractions."""
    by_quantity = {name: summary(_of(found, name)) for name in QUANTITIES}
    families = {error.family for error in _of(found, "whole_need")}
    return {
        **by_quantity["whole_need"],
        "quantities": by_quantity,
        **{name: scores for name, scores in by_quantity.items() if name != "whole_need"},
        "families": {
            name: summary([error for error in _of(found, "whole_need") if error.family == name])
            for name in sorted(families)
        },
        "others": {name: _other(errors) for name, errors in found.others.items()},
        "skipped": dict(found.skipped),
    }


def _show(found: Found) -> None:
    print(f"{'':34}    n  median     p90   claim: low   over median     p90")
    for name in QUANTITIES:
        _line(name.replace("_", " "), summary(_of(found, name)))
    print("\nwhole need by family")
    for name in sorted({error.family for error in _of(found, "whole_need")}):
        _line(name, summary([error for error in _of(found, "whole_need") if error.family == name]))
    print("\nwhole need by other formulas")
    for name, errors in found.others.items():
        other = _other(errors)
        print(
            f"{name:34} {other['n']:>4} {other['median']:>7.1%} {other['p90']:>7.1%}   {other['low_by_1_percent']:>10}"
        )
    for name in QUANTITIES:
        worst = sorted(_of(found, name), key=lambda error: -abs(error.expected))[:NAMED]
        print(f"\n{name.replace('_', ' ')}, worst: " + ", ".join(f"{e.row} {e.expected:+.1%}" for e in worst))
        if low := [error for error in _of(found, name) if error.claim < -LOW]:
            print("  claim low: " + ", ".join(f"{e.row} {e.claim:+.1%}" for e in low))
    print("\nleft out")
    for reason, count in found.skipped.items():
        print(f"{count:>4}  {reason}")


def _line(name: str, scores: Mapping[str, Mapping[str, float]]) -> None:
    expected, claim = scores["expected"], scores["claim"]
    print(
        f"{name:34} {expected['n']:>4} {expected['median']:>7.2%} {expected['p90']:>7.2%}   "
        f"{claim['low_by_1_percent']:>10} {claim['over_median']:>13.1%} {claim['over_p90']:>7.1%}"
    )


def _other(errors: Sequence[float]) -> dict[str, float]:
    away = [abs(error) for error in errors]
    low = sum(error < -LOW for error in errors)
    return {"n": len(away), "median": median(away), "p90": p90(away), "low_by_1_percent": low}


def _of(found: Found, quantity: str) -> list[Error]:
    return [error for error in found.errors if error.quantity == quantity]


def _models(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}", hint="name a JSON file of model facts") from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected an object of models", hint="name a JSON file of model facts")
    return document


if __name__ == "__main__":
    main()
