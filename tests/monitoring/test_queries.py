"""How the names of metrics are found in queries."""

import pytest

from tests.monitoring.queries import names_in


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("up", {"up"}),
        ('max by (model) (a_total{model=~"x", code!~"2.."}) > 0 and max by (model) (b) == 0', {"a_total", "b"}),
        ("histogram_quantile(0.5, sum by (le) (rate(c_bucket[5m]))) / 1000", {"c_bucket"}),
        ("sum by (model) (vllm:running{m='by (z)'} or llamacpp:busy)", {"vllm:running", "llamacpp:busy"}),
        ("time() - max(d_seconds and e == 1) > 120", {"d_seconds", "e"}),
        ("sum(f) without (instance) / on (node) group_left (name) g offset 5m", {"f", "g"}),
        ("absent(h == 1) or vector(0)", {"h"}),
        ('count(i{alertstate="firing"}) + 2.5e3 - avg_over_time(j[1h:5m])', {"i", "j"}),
    ],
)
def test_the_names_in_a_query_are_found(query: str, names: set[str]) -> None:
    assert names_in(query) == names
