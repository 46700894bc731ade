"""What clients are spared: silent engines, full queues, a gateway that ends; and what the gateway keeps to itself."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from aivailable.gateway.admin import ask
from tests.gateway.front import Front, front
from tests.processes import ROOT, StandIn, eventually, stand_ins
from tests.samples import fleet, model

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
SLOW = ("--ttft-ms", "600")
BODY = {"model": "m-a", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@pytest.fixture
def engines() -> Iterator[list[StandIn]]:
    with stand_ins(2, *SLOW) as started:
        yield started


@pytest.fixture
def gate(engines: list[StandIn], tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path) as running:
        running.set_key("all", "sk-all")
        running.set_fleet(fleet(replace(model("m-a"), replicas=1, concurrency=1, queue=1, idle_timeout_s=1)))
        running.set_instances({"m-a": [engines[0].port]})
        with running.client() as client:
            eventually(lambda: client.post(CHAT, json=BODY).status_code == 200)
        yield running


def test_a_silent_engine_is_left_for_another(gate: Front, engines: list[StandIn]) -> None:
    """Frozen, not dead: its kernel takes connections and requests, nothing answers."""
    gate.set_instances({"m-a": [engine.port for engine in engines]})
    with gate.client() as client:
        eventually(lambda: client.post(CHAT, json=BODY).status_code == 200 and engines[1].served() > 0)
        engines[0].freeze()
        answers = [client.post(CHAT, json=BODY) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [200] * 6
    assert max(answer.elapsed.total_seconds() for answer in answers) < 5


def test_an_engine_that_was_left_is_asked_again_when_it_is_the_only_one(gate: Front, engines: list[StandIn]) -> None:
    """It was gone and was ejected; then the other one goes, and it must not be missed for the rest of that time."""
    first, second = engines
    gate.set_instances({"m-a": [first.port, second.port]})
    with gate.client() as client:
        eventually(lambda: client.post(CHAT, json=BODY).status_code == 200 and second.served() > 0)
        first.kill()
        eventually(lambda: client.post(CHAT, json=BODY).status_code == 200 and ejected(gate, first), timeout_s=20)
        first.restart()
        gate.set_instances({"m-a": [first.port]})
        eventually(lambda: f"127.0.0.1:{second.port}" not in clusters(gate))
        still, answer = ejected(gate, first), client.post(CHAT, json=BODY)

    assert (still, answer.status_code) == (True, 200)


def clusters(gate: Front) -> str:
    """What Envoy says of its hosts."""
    return ask(gate.state / "gateway", "/clusters")


def ejected(gate: Front, engine: StandIn) -> bool:
    (flags,) = [line for line in clusters(gate).splitlines() if f":{engine.port}::health_flags::" in line]
    return "failed_outlier_check" in flags


def test_more_requests_than_may_wait_are_refused_at_once(gate: Front) -> None:
    def ask(_: int) -> httpx.Response:
        with gate.client() as client:
            return client.post(CHAT, json=BODY)

    with ThreadPoolExecutor(8) as at_once:
        answers = list(at_once.map(ask, range(8)))

    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert {answer.json()["error"]["code"] for answer in refused} == {"engine_overloaded"}
    assert all(answer.headers["retry-after"] == "5" for answer in refused)
    assert min(answer.elapsed.total_seconds() for answer in refused) < 0.5


def test_envoy_does_not_outlive_its_feeder(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.gateway.front import front\n"
        "with front(Path(sys.argv[1])) as gate: print(gate.envoy.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as feeder:
        assert feeder.stdout is not None
        envoy = Path("/proc", feeder.stdout.readline().decode().strip())
        assert "envoy" in (envoy / "cmdline").read_text()
        feeder.kill()
    eventually(lambda: not envoy.exists() or "envoy" not in (envoy / "cmdline").read_text())


def test_who_had_connected_before_the_end_is_answered(tmp_path: Path) -> None:
    """Its request comes when the gateway that ends has nothing to do."""
    body = json.dumps({**BODY, "stream": True, "max_tokens": 30}).encode()
    with stand_ins(1, "--tokens-per-s", "20") as engines, front(tmp_path) as gate:
        gate.set_key("all", "sk-all")
        gate.set_fleet(fleet(model("m-a")))
        gate.set_instances({"m-a": [engines[0].port]})
        with gate.client() as client:
            eventually(lambda: client.post(CHAT, json=BODY).status_code == 200)
            url = client.base_url
        late = http.client.HTTPConnection(url.host, url.port or 80, timeout=20)
        late.connect()
        time.sleep(0.3)  # until Envoy has taken the connection

        draining = threading.Thread(target=gate.envoy.drain)
        draining.start()
        time.sleep(0.4)  # later than its first look
        late.request("POST", CHAT, body, {"authorization": "Bearer sk-all", "content-type": "application/json"})
        answer = late.getresponse()
        assert answer.readline().startswith(b"data: {")
        assert draining.is_alive()
        assert b"data: [DONE]" in answer.read()
        draining.join(20)
        late.close()


def test_a_gateway_that_ends_finishes_its_streams_and_takes_no_more(tmp_path: Path) -> None:
    begun, lines = threading.Event(), []

    def listen(gate: Front) -> None:
        with gate.client() as client, client.stream("POST", CHAT, json={**BODY, "stream": True, "max_tokens": 30}) as s:
            for line in s.iter_lines():
                lines.append(line)
                begun.set()

    with stand_ins(1, "--tokens-per-s", "20") as engines, front(tmp_path) as gate:
        gate.set_key("all", "sk-all")
        gate.set_fleet(fleet(model("m-a")))
        gate.set_instances({"m-a": [engines[0].port]})
        with gate.client() as client:
            eventually(lambda: client.post(CHAT, json=BODY).status_code == 200)
        probe = f"http://127.0.0.1:{gate.envoy.probe_port}/ready"
        assert httpx.get(probe, trust_env=False).status_code == 200
        listening = threading.Thread(target=listen, args=(gate,))
        listening.start()
        assert begun.wait(10)

        draining = threading.Thread(target=gate.envoy.drain)
        draining.start()
        eventually(lambda: httpx.get(probe, trust_env=False).status_code == 503)
        with pytest.raises(httpx.ConnectError), gate.client() as client:
            client.post(CHAT, json=BODY)
        draining.join(20)
        listening.join(5)

    assert "data: [DONE]" in lines
    assert sum(line.startswith("data: {") for line in lines) == 31
    assert json.loads(lines[0].removeprefix("data: "))["choices"]
