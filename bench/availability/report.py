"""The figures of a run, as a table and as JSON. Pure.

Availability is the share of requests that did not fail. A request fails without the right answer within 30 s of its
arrival; a stream that a kill cut after its first byte is counted apart, one cut by anything else is a failure. The
longest gap of a model is the longest time between two right answers to requests for it, from the start of the load to
its end.
"""

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.availability.records import Done, Record, Result

FAILURES_SHOWN = 50
CUTS_SHOWN = 500
SHOWN_IN_TABLE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was run: by what back end, for how long, at what rate, from what seed, without what mechanism."""

    machine: str
    backend: str
    seconds: float
    rate: float
    seed: int
    without: str = ""


def report(
    run: Run, records: Sequence[Record], faults: Sequence[Done], *, overcommitted_mib: int, looks: int
) -> dict[str, Any]:
    """All figures of a run whose requests are attributed."""
    results = Counter(record.result for record in records)
    failed = results[Result.FAILED]
    took_s = sorted(record.took_s for record in records if record.result is Result.OK)
    return {
        "machine": run.machine,
        "backend": run.backend,
        "seconds": run.seconds,
        "rate": run.rate,
        "seed": run.seed,
        "without": run.without,
        "requests": len(records),
        "failed": failed,
        "cut_streams": results[Result.CUT],
        "retried": sum(record.retried for record in records),
        "retried_because": dict(Counter(r.tries[0].why.partition(": ")[0] for r in records if r.retried).most_common()),
        "availability": 1 - failed / max(1, len(records)),
        "availability_with_cuts": results[Result.OK] / max(1, len(records)),
        "longest_gap_s": longest_gaps(records, run.seconds),
        "answered_s": _spread(took_s),
        "replacement_started_s": _spread([s for fault in faults for s in fault.started_s.values()]),
        "replacement_serving_s": _spread([s for fault in faults for s in fault.serving_s.values()]),
        "replacements_lost": sum(len(fault.lost) for fault in faults),
        "overcommitted_mib": overcommitted_mib,
        "looks": looks,
        "faults": [_fault(fault, records) for fault in faults],
        "failures": [_failure(record) for record in records if record.result is Result.FAILED][:FAILURES_SHOWN],
        "retries": [_failure(r) for r in records if r.retried and r.result is Result.OK and _odd(r)][:FAILURES_SHOWN],
        "cuts": [_failure(record) for record in records if record.result is Result.CUT][:CUTS_SHOWN],
    }


def longest_gaps(records: Sequence[Record], seconds: float) -> dict[str, float]:
    """Model -> the longest time between two right answers to it, the start and the end of the load included."""
    found = {}
    for model in sorted({record.arrival.model for record in records}):
        ends = sorted(r.ended_s for r in records if r.arrival.model == model and r.result is Result.OK)
        marks = [0.0, *ends, max(seconds, *ends)] if ends else [0.0, seconds]
        found[model] = max(later - earlier for earlier, later in itertools.pairwise(marks))
    return found


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"n": len(ordered), "p50": statistics.median(ordered), "p99": p99, "max": ordered[-1]}


def _fault(fault: Done, records: Sequence[Record]) -> dict[str, Any]:
    touched = [record for record in records if record.fault == fault.number]
    return {
        "number": fault.number,
        "kind": fault.kind,
        "target": fault.target,
        "at_s": round(fault.begun_s, 2),
        "lasted_s": round(fault.ended_s - fault.begun_s, 2),
        "recovered_after_s": None if fault.recovered_s is None else round(fault.recovered_s - fault.begun_s, 2),
        "started_s": {model: round(value, 2) for model, value in fault.started_s.items()},
        "serving_s": {model: round(value, 2) for model, value in fault.serving_s.items()},
        "failed": sum(record.result is Result.FAILED for record in touched),
        "cut": sum(record.result is Result.CUT for record in touched),
        "retried": sum(record.retried for record in touched),
        "note": fault.note,
    }


def _odd(record: Record) -> bool:
    """Whether a retry deserves a look: its gateway was there, and had no answer."""
    return record.tries[0].status != 0 or record.tries[0].why.startswith("silent")


def _failure(record: Record) -> dict[str, Any]:
    asked = record.arrival
    return {
        "id": record.id,
        "model": asked.model,
        "streamed": asked.streamed,
        "words": asked.words,
        "arrived_s": round(asked.at_s, 2),
        "ended_s": round(record.ended_s, 2),
        "why": record.why,
        "fault": record.fault,
        "tries": [
            {"gateway": t.gateway, "begun_s": round(t.begun_s, 2), "ended_s": round(t.ended_s, 2), "why": t.why}
            for t in record.tries
        ],
        "envoy": record.envoy,
    }


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    without = f", without {found['without']}" if found["without"] else ""
    print(f"Availability, {found['backend']}{without}, seed {found['seed']} ({found['machine']})")
    gaps = ", ".join(f"{model} {gap:.2f} s" for model, gap in found["longest_gap_s"].items())
    answered = found["answered_s"]
    rows = [
        ("requests", f"{found['requests']} in {found['seconds']:g} s"),
        ("availability", f"{100 * found['availability']:.4f} %"),
        ("failed", str(found["failed"])),
        ("streams cut by kills", str(found["cut_streams"])),
        ("asked the other gateway", _because(found)),
        ("longest gap", gaps),
        ("answered after, p50 / p99 / max", _three(answered)),
        ("replacement started, p50 / max", _two(found["replacement_started_s"], found["replacements_lost"])),
        ("replacement serving, p50 / max", _two(found["replacement_serving_s"], found["replacements_lost"])),
        ("VRAM over-commitment", f"{found['overcommitted_mib']} MiB at worst, of {found['looks']} looks"),
    ]
    for name, value in rows:
        print(f"{name:34}{value}")
    print(f"\n{'':4}{'fault':22}{'target':44}{'at s':>7}{'lasted':>8}{'whole':>8}{'retried':>9}{'cut':>5}{'failed':>8}")
    for fault in found["faults"]:
        recovered = fault["recovered_after_s"]
        print(
            f"{fault['number']:>3} {fault['kind']:22}{fault['target'][:43]:44}{fault['at_s']:>7.1f}"
            f"{fault['lasted_s']:>8.1f}{recovered if recovered is not None else '-':>8}"
            f"{fault['retried']:>9}{fault['cut']:>5}{fault['failed']:>8}  {fault['note']}"
        )
    for failure in found["failures"][:SHOWN_IN_TABLE]:
        print(f"failed: {failure['id']} at {failure['arrived_s']} s, fault {failure['fault']}: {failure['why']}")


def _because(found: dict[str, Any]) -> str:
    because = ", ".join(f"{why} {count}" for why, count in found["retried_because"].items())
    return f"{found['retried']}" + (f" ({because})" if because else "")


def _two(spread: dict[str, float], lost: int) -> str:
    return f"{spread['p50']:.2f} / {spread['max']:.2f} s ({spread['n']} of {lost} lost)" if spread["n"] else "none lost"


def _three(spread: dict[str, float]) -> str:
    return f"{spread['p50']:.2f} / {spread['p99']:.2f} / {spread['max']:.2f} s" if spread["n"] else "nothing"
