"""Updates on a real cluster: beside the old, and a version that does not start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import eventually
from tests.real.life import STAND_IN, Life, fleet
from tests.real.rack import rack, why_not
from tests.real.test_failover import secret
from tests.real.traffic import streams, traffic

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

SLOW = f"{STAND_IN} --tokens-per-s 20"


@pytest.fixture
def life() -> Iterator[Life]:
    with rack() as running:
        up = Life(running, {"AIVAILABLE_LLAMACPP_COMMAND": SLOW, "AIVAILABLE_RESTART_DELAY_S": "0.2"})
        up.ok("up")
        yield up


def jobs(life: Life) -> set[str]:
    return {replica.job for replica in life.serving()}


def with_flags(file: str, flags: str) -> str:
    text = Path(file).read_text()
    Path(file).write_text(f"{text}flags = [{flags}]\n")
    return file


def test_an_update_cuts_nothing_and_a_bad_version_goes_back_by_itself(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2}))
    life.wait_until_serving(2)
    key, first = secret(life), jobs(life)
    gateway = eventually(lambda: life.dig("llm.service.consul")[:1], timeout_s=20)
    base = f"http://{gateway[0]}:8080/v1"  # type: ignore[index] # a true value is a list with one

    with traffic(base, key, "m") as seen, streams(base, key, "m", count=6, tokens=100) as listeners:
        life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2, "context": 256}))
    second = jobs(life)
    print(f"update: {seen.asked} requests, {len(seen.failures)} failed, longest {seen.longest_s:.2f} s")
    assert (seen.failures, seen.answered) == ([], seen.asked)
    assert (listeners.whole, listeners.wrong) == (6, [])
    assert len(second) == 2
    assert not first & second

    bad = with_flags(fleet(tmp_path, {"name": "m", "replicas": 2, "context": 256}), '"--no-such-flag"')
    with traffic(base, key, "m") as seen:
        done = life.run("deploy", bad)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "unrecognized arguments: --no-such-flag" in done.stderr
    assert "m is back at the version before" in done.stderr
    assert seen.failures == []
    eventually(lambda: {r.job for r in life.replicas()} == second, timeout_s=60)
    assert jobs(life) == second
    assert "given up" in life.ok("status")

    # The same once more, told to: its jobs are others, and what failed before does not count.
    done = life.run("deploy", bad, "--retry")
    assert done.returncode == 1, done.stdout + done.stderr
    assert jobs(life) == second
    life.assert_nothing_is_booked_twice()
