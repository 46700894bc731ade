"""Counters to usage, and who is over budget: no Envoy, the embedded store."""

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from aivailable.documents import dump_usage, load_usage
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.gateway.meter import MINUTES_KEPT, Meter, add, day_of, parse_counters, read_usage
from aivailable.model.service import USAGE_PREFIX, ApiKey
from aivailable.model.usage import Counts, GatewayUsage

NOON = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC).timestamp()
TEXT = """
# TYPE envoy_llm_prompt_tokens counter
envoy_llm_prompt_tokens{model="m-a",client="alice"} 70
envoy_llm_completion_tokens{model="m-a",client="alice"} 30
envoy_llm_requests{model="m-a",client="alice",code="200"} 3
envoy_llm_requests{model="m-a",client="alice",code="503"} 9
envoy_llm_requests{model="_other",client="alice",code="404"} 5
envoy_llm_requests{model="m-a",client="",code="401"} 5
envoy_llm_requests{model="odd \\"name\\"",client="bob",code="200"} 1
envoy_llm_unknown{model="odd \\"name\\"",client="bob"} 1
envoy_llm_duration_ms_sum{model="m-a"} 12
envoy_llm_requests{model="m-a" broken
"""


def test_counters_of_answers_by_key_and_model() -> None:
    assert parse_counters(TEXT) == {
        ("alice", "m-a"): Counts(requests=3, prompt=70, completion=30),
        ("bob", 'odd "name"'): Counts(requests=1, unknown=1),
    }


@given(st.text(max_size=200))
def test_any_text_is_parsed(text: str) -> None:
    assert parse_counters(f"envoy_llm_requests{{{text}}} 1\n{text}") is not None


def test_days_and_minutes_are_kept_for_a_while() -> None:
    usage = GatewayUsage()
    for day in range(70):
        usage = add(usage, {("k", "m"): Counts(requests=1, prompt=2, completion=3)}, NOON + 86_400 * day)

    assert len(usage.days) == 62
    assert day_of(NOON) not in usage.days
    minutes = add(usage, {("k", "m"): Counts(completion=1)}, NOON + 86_400 * 69 + 60).minutes
    assert len(minutes) <= MINUTES_KEPT
    assert load_usage(dump_usage(usage), where="here") == usage


def test_who_is_over_budget_counts_all_gateways_and_for_how_long(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    for name in ("one", "two"):
        usage = add(GatewayUsage(), {("k", "m"): Counts(requests=1, prompt=30, completion=20)}, NOON)
        registry.put(f"{USAGE_PREFIX}{name}", dump_usage(usage))
    registry.put(f"{USAGE_PREFIX}broken", b"{")
    meter = Meter(registry, tmp_path, "three")

    def over(now_s: float = NOON, **limits: int) -> dict[str, int]:
        return meter.over_budget([ApiKey(id="k", secret="s", **limits)], now_s)  # type: ignore[arg-type] # whole numbers

    assert over() == {}
    assert over(tpm=101) == {}
    assert over(tpm=100) == {"k": 30}
    assert over(NOON + 60, tpm=100) == {}
    assert over(tokens_per_day=100) == {"k": 12 * 3600 - 30}
    assert over(NOON + 86_400, tokens_per_day=100) == {}
    assert set(read_usage(registry)) == {"one", "two"}


def test_a_gateway_goes_on_from_what_it_had_counted(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    usage = add(GatewayUsage(), {("k", "m"): Counts(requests=1, prompt=30, completion=20)}, NOON)
    registry.put(f"{USAGE_PREFIX}one", dump_usage(usage))

    Meter(registry, tmp_path, "one").tick(NOON + 1)  # no Envoy answers
    assert read_usage(registry)["one"] == usage
