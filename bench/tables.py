"""How every benchmark prints: one table of medians with minimum and maximum, or the same as JSON."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence


def machine() -> str:
    """The machine in a few words; figures without it mean nothing."""
    return f"{os.cpu_count()} cores {platform.machine()}, {platform.system()}, Python {platform.python_version()}"


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(title: str, rows: Mapping[str, Sequence[float]], unit: str, *, as_json: bool) -> None:
    """Print the rows, each a list of measured values."""
    if as_json:
        found = {name: summary(values) for name, values in rows.items()}
        print(json.dumps({"machine": machine(), "unit": unit, "rows": found}, indent=2))
        return
    print(f"{title} ({machine()})")
    print(f"{'':32} {'median':>10} {'min':>10} {'max':>10}  n")
    for name, values in rows.items():
        s = summary(values)
        print(f"{name:32} {s['median']:>9.3f}{unit} {s['min']:>9.3f}{unit} {s['max']:>9.3f}{unit}  {len(values)}")
