"""Rates from counters that are read again and again."""

from aivailable.controller.traffic import WINDOW_S, Counted, Rates, Traffic, parse

TEXT = """\
# TYPE envoy_llm_requests counter
envoy_llm_requests{model="a",client="x",code="200"} 7
envoy_llm_requests{model="a",client="y",code="503"} 2
envoy_llm_requests{model="other",client="y",code="404"} 5
envoy_llm_completion_tokens{model="a",client="x"} 90
envoy_llm_completion_tokens{model="a",client="y"} 10
envoy_llm_prompt_tokens{model="a",client="y"} 1000
envoy_cluster_upstream_rq_active{envoy_cluster_name="llm_a"} 3
envoy_cluster_upstream_rq_active{envoy_cluster_name="admin"} 1
"""


def test_counters_are_summed_over_keys_and_codes() -> None:
    assert parse(TEXT, ["a", "b"]) == {
        "a": Counted(requests=9, errors=2, tokens=100, in_flight=3),
        "b": Counted(),
    }


def counted(requests: int, *, tokens: int = 0, errors: int = 0, in_flight: int = 0) -> dict[str, Counted]:
    return {"a": Counted(requests=requests, tokens=tokens, errors=errors, in_flight=in_flight)}


def test_what_was_counted_before_we_looked_is_no_rate() -> None:
    rates = Rates()
    assert rates.look(0.0, {"g1": counted(1000, in_flight=2)}) == {"a": Traffic(in_flight=2)}


def test_rates_are_over_the_last_seconds_and_all_gateways() -> None:
    rates = Rates()
    rates.look(0.0, {"g1": counted(10), "g2": counted(0)})
    rates.look(1.0, {"g1": counted(14, tokens=40), "g2": counted(2)})
    found = rates.look(2.0, {"g1": counted(16, tokens=40, errors=1, in_flight=1), "g2": counted(2, in_flight=3)})["a"]

    assert found == Traffic(requests_per_s=4.0, errors_per_s=0.5, tokens_per_s=20.0, in_flight=4)


def test_what_is_old_is_forgotten() -> None:
    rates = Rates()
    rates.look(0.0, {"g": counted(0)})
    rates.look(1.0, {"g": counted(50)})
    for second in range(2, 2 + int(WINDOW_S) + 1):
        last = rates.look(float(second), {"g": counted(50)})

    assert last["a"].requests_per_s == 0


def test_two_looks_far_apart_still_have_a_rate_between_them() -> None:
    rates = Rates()
    rates.look(0.0, {"g": counted(0)})

    assert rates.look(3 * WINDOW_S, {"g": counted(60)})["a"].requests_per_s == 60 / (3 * WINDOW_S)


def test_a_gateway_that_was_away_begins_anew() -> None:
    """What it counted meanwhile is not of the one look that finds it again."""
    rates = Rates()
    rates.look(0.0, {"g1": counted(0), "g2": counted(0)})
    rates.look(1.0, {"g1": counted(0)})

    assert rates.look(2.0, {"g1": counted(0), "g2": counted(500)})["a"].requests_per_s == 0


def test_one_that_counts_anew_is_known_by_any_of_its_counters() -> None:
    rates = Rates()
    rates.look(0.0, {"g": counted(10, errors=5)})

    assert rates.look(1.0, {"g": counted(10, errors=1)})["a"] == Traffic(requests_per_s=10, errors_per_s=1)


def test_a_gateway_that_counts_anew_adds_what_it_has_and_one_that_comes_adds_nothing_at_first() -> None:
    rates = Rates()
    rates.look(0.0, {"g1": counted(100)})
    found = rates.look(1.0, {"g1": counted(3), "g2": counted(500)})["a"]

    assert found.requests_per_s == 3
