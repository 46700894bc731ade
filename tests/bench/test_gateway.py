"""The gateway's benchmark: what it reads and reckons, and that it runs."""

import json
import os
import shutil

import pytest

from bench.gateway import report
from bench.gateway.__main__ import main
from bench.gateway.load import Run, body, parse
from bench.gateway.measuring import rotated, summary
from bench.gateway.processes import cpu_s, family, rss_mib
from bench.gateway.streams import summary as of_streams

MISSING = [name for name in ("wrk", "nginx", "openssl") if shutil.which(name, path="/usr/sbin:/usr/bin:/bin") is None]


def run(rps: float, cpu_us: float) -> Run:
    return Run(rps=rps, p50_us=1000, p99_us=2000, cpu_us=cpu_us, rss_mib=30)


def test_a_body_is_as_long_as_it_should_be_and_names_its_model() -> None:
    for kib in (1.2, 68):
        made = body(kib)
        assert abs(len(made) - kib * 1024) < 2
        assert json.loads(made)["model"] == "m-a"


def test_the_line_of_our_script_is_read() -> None:
    line = 'BENCH {"requests":1000,"seconds":2.0,"p50_us":900,"p99_us":1800,"errors":0}'
    found = parse(f"Running 2s test\n{line}\n", 0.05, 31)

    assert (found.rps, found.p50_us, found.p99_us, found.rss_mib) == (500, 900, 1800, 31)
    assert found.cpu_us == pytest.approx(50)
    with pytest.raises(RuntimeError, match="3 of 1000"):
        parse(line.replace('"errors":0', '"errors":3'), 0.05, 31)


def test_our_own_cpu_and_memory_are_seen() -> None:
    before = cpu_s(os.getpid())
    while cpu_s(os.getpid()) < before + 0.05:
        sum(range(10_000))

    assert os.getpid() in family(os.getpid())
    assert rss_mib(os.getpid()) > 5


def test_rounds_begin_with_another_row_each() -> None:
    assert [rotated("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_goals_and_headlines_follow_from_medians() -> None:
    rows = {
        "direct": summary([run(100_000, 0)]),
        "full": summary([run(rps, 60) for rps in (1000, 1150, 5000)]),
        "vllm-router": summary([run(1000, 100)]),
    }
    found = {"requests": rows, "long": {"bare": summary([run(1, 40)]), "full": summary([run(1, 81)])}}

    assert report.headline(found) == {"ratio_to_vllm_router": 1.15, "added_p50_us": 0}
    assert {name: met for name, _, _, met in report.goals(found)} == {
        "requests/s against vllm-router": True,
        "CPU by request against vllm-router": True,
        "CPU with 68 kB against bare Envoy": False,
    }


def test_late_events_count() -> None:
    found = of_streams([1.0] * 100, [1.0] * 98 + [9.0] * 2)

    assert (found.event_p50_ms, found.events) == (1.0, 100)
    assert found.event_p99_ms > 8


@pytest.mark.envoy
@pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {' '.join(MISSING)}")
def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rows", "direct,bare,full,full-mtls", "--connections", "4", "--rounds", "1", "--seconds", "1", "--json"])
    found = json.loads(capsys.readouterr().out)

    assert set(found["requests"]) == {"direct", "bare", "full", "full-mtls"}
    assert found["added_p50_us"] > 0
    assert found["requests"]["full"]["cpu_us"]["median"] > found["requests"]["bare"]["cpu_us"]["median"] > 0
