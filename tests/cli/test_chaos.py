"""A replica killed under load, with stand-in engines: no request may fail."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.cli.running import CHAT, MODEL, Demo, demo
from tests.processes import ROOT, eventually

pytestmark = pytest.mark.envoy

RATE = 50
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@pytest.mark.parametrize(
    "requests",
    [pytest.param(400, id="400 requests"), pytest.param(3000, id="3000 requests", marks=pytest.mark.slow)],
)
def test_no_request_fails_at_fifty_per_second_when_a_replica_is_killed(tmp_path: Path, requests: int) -> None:
    standing_in = {"AIVAILABLE_LLAMACPP_COMMAND": f"{sys.executable} -m bench.engine", "PYTHONPATH": str(ROOT)}
    fleet = tmp_path / "fleet.toml"
    fleet.write_text((ROOT / "examples/demo.toml").read_text())
    with demo(tmp_path, standing_in, "--fleet", str(fleet)) as up:
        outcomes = load(up, requests)
        eventually(lambda: len(up.serving()) == 2)

    assert outcomes == {200: requests}


def load(up: Demo, requests: int) -> Counter[int]:
    """Send at a steady rate and kill a replica at each third."""
    outcomes: Counter[int] = Counter()
    lock = threading.Lock()
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
    headers = {"authorization": f"Bearer {up.line('key ')}"}
    with httpx.Client(base_url=up.line("base URL "), headers=headers, timeout=30, limits=limits) as client:

        def send() -> None:
            try:
                code = client.post(CHAT, json=BODY).status_code
            except httpx.TransportError:
                code = 0
            with lock:
                outcomes[code] += 1

        senders: list[threading.Thread] = []
        begin = time.monotonic()
        for number in range(requests):
            time.sleep(max(0.0, begin + number / RATE - time.monotonic()))  # the load's rate
            senders.append(threading.Thread(target=send))
            senders[-1].start()
            if number in {requests // 3, 2 * requests // 3}:
                victim = up.serving()[0]
                os.kill(up.engine_pid(victim["alloc"]), signal.SIGKILL)
        for sender in senders:
            sender.join(30)
    return outcomes
