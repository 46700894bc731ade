"""The tables, the goals, and the JSON of `bench.gateway`."""

from collections.abc import Mapping
from typing import Any

from bench.gateway.measuring import Asked

Figures = Mapping[str, Mapping[str, float]]
"""Figure -> median, min, max."""

COLUMNS = (("rps", 1, "req/s"), ("p50_us", 1000, "p50 ms"), ("p99_us", 1000, "p99 ms"), ("cpu_us", 1, "CPU us"))


def show(asked: Asked, rows: Mapping[str, Figures]) -> None:
    """One measurement: requests a second with their spread, latency, CPU by request, memory."""
    print(f"\n{asked.name}: {asked.connections} connections, bodies of {asked.body_kib:g} kB")
    added = "added p50" if "direct" in rows else ""
    print(f"{'':14}{'req/s':>9}{'min':>9}{'max':>9}{'p50 ms':>9}{'p99 ms':>9}{added:>11}{'CPU us':>9}{'MiB':>7}")
    for name, row in rows.items():
        rps, beyond = row["rps"], ""
        if added and name != "direct":
            beyond = f"{(row['p50_us']['median'] - rows['direct']['p50_us']['median']) / 1000:.3f}"
        own = "" if name == "direct" else f"{row['cpu_us']['median']:.1f}"
        print(
            f"{name:14}{rps['median']:>9.0f}{rps['min']:>9.0f}{rps['max']:>9.0f}"
            f"{row['p50_us']['median'] / 1000:>9.3f}{row['p99_us']['median'] / 1000:>9.3f}{beyond:>11}"
            f"{own:>9}{row['rss_mib']['median'] if own else 0:>7.0f}"
        )


def show_streams(count: int, rows: Mapping[str, Figures]) -> None:
    """How late the events of streams come."""
    print(f"\nstreams: {count} at once, milliseconds")
    print(f"{'':14}{'first p50':>11}{'first p99':>11}{'event p50':>11}{'event p99':>11}{'p99 max':>11}")
    for name, row in rows.items():
        middle = [row[figure]["median"] for figure in ("first_byte_p50_ms", "first_byte_p99_ms", "event_p50_ms")]
        last = row["event_p99_ms"]
        print(f"{name:14}" + "".join(f"{value:>11.2f}" for value in (*middle, last["median"], last["max"])))


def goals(found: Mapping[str, Any]) -> list[tuple[str, str, float, bool]]:
    """What was to be reached, what was measured, and whether it is met; only for what was measured."""
    usual, one, long = found.get("requests", {}), found.get("alone", {}), found.get("long", {})
    told: list[tuple[str, str, float, bool]] = []

    def ratio(rows: Mapping[str, Figures], figure: str, ours: str, theirs: str) -> float | None:
        if ours not in rows or theirs not in rows:
            return None
        return rows[ours][figure]["median"] / rows[theirs][figure]["median"]

    def add(name: str, goal: str, value: float | None, met: bool) -> None:  # noqa: FBT001 - a row of a table
        if value is not None:
            told.append((name, goal, value, met))

    value = ratio(usual, "rps", "full", "vllm-router")
    add("requests/s against vllm-router", ">= 1.15", value, bool(value and value >= 1.15))
    value = ratio(usual, "rps", "full", "vllm-router-rr")
    add("the same, it only taking turns", "-", value, bool(value and value >= 1))
    value = ratio(usual, "cpu_us", "full", "vllm-router")
    add("CPU by request against vllm-router", "<= 0.85", value, bool(value and value <= 0.85))
    value = ratio(long, "cpu_us", "full", "bare")
    add("CPU with 68 kB against bare Envoy", "<= 2", value, bool(value and value <= 2))
    value = ratio(usual, "rps", "full", "litellm")
    add("requests/s against LiteLLM", ">= 100", value, bool(value and value >= 100))
    value = ratio(one or usual, "cpu_us", "full-mtls", "full")
    add("CPU of mutual TLS", "<= 1.05", value, bool(value and value <= 1.05))
    if "full" in found.get("streams", {}):
        value = found["streams"]["full"]["event_p99_ms"]["median"]
        add("p99 of events, 500 streams, ms", "<= 5", value, bool(value <= 5))
    return told


def show_goals(told: list[tuple[str, str, float, bool]]) -> None:
    """The goals with what was measured."""
    print(f"\n{'goal':40}{'wanted':>10}{'measured':>10}")
    for name, goal, value, met in told:
        print(f"{name:40}{goal:>10}{value:>10.2f}  {_judged(goal, met=met)}")


def _judged(goal: str, *, met: bool) -> str:
    if goal == "-":
        return "no goal; ahead" if met else "no goal; behind"
    return "met" if met else "missed"


def headline(found: Mapping[str, Any]) -> dict[str, float]:
    """The two figures that others read: our requests/s over vllm-router's, and what a request alone takes longer."""
    told = {}
    usual, single = found.get("requests", {}), found.get("single", {})
    if {"full", "vllm-router"} <= usual.keys():
        told["ratio_to_vllm_router"] = usual["full"]["rps"]["median"] / usual["vllm-router"]["rps"]["median"]
    rows = single if {"full", "direct"} <= single.keys() else usual
    if {"full", "direct"} <= rows.keys():
        told["added_p50_us"] = rows["full"]["p50_us"]["median"] - rows["direct"]["p50_us"]["median"]
    return told
