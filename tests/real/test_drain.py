"""A node of a real cluster emptied while streams run through both gateways: none is cut, all of ours goes elsewhere."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aivailable.model.service import CONTROLLER_JOB, GATEWAY_JOB
from tests.processes import eventually
from tests.real.life import STAND_IN, Life, fleet
from tests.real.rack import NODES, rack, why_not
from tests.real.test_failover import secret, status
from tests.real.traffic import Listeners, streams

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

TOKENS = 100
"""Of one stream, at 20 a second: 5 s."""


@pytest.fixture
def life() -> Iterator[Life]:
    with rack() as running:
        up = Life(running, {"AIVAILABLE_LLAMACPP_COMMAND": f"{STAND_IN} --tokens-per-s 20"})
        up.ok("up")
        yield up


def on(life: Life, node: str) -> set[str]:
    """The jobs that hold something of a node."""
    (found,) = [n["ID"] for n in life.get("/nodes") if n["Name"] == node]
    return {a["JobID"] for a in life.get(f"/node/{found}/allocations") if a["ClientStatus"] in ("pending", "running")}


def listen(base_url: str, key: str, ended: threading.Event, heard: list[Listeners]) -> threading.Thread:
    """Streams through one gateway, two at a time, one pair after the other, until the end."""

    def again() -> None:
        while not ended.is_set():
            with streams(base_url, key, "m", count=2, tokens=TOKENS) as seen:
                heard.append(seen)
            ended.wait(0.2)

    thread = threading.Thread(target=again)
    thread.start()
    return thread


def test_a_node_is_emptied_without_a_cut_stream_and_takes_work_again(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2, "concurrency": 8}))
    serving = {replica.node for replica in life.wait_until_serving(2)}
    key = secret(life)
    gateways = [node for node in NODES if life.pids(node, "envoy")]
    node = next(name for name in gateways if name in serving)
    (other,) = [name for name in gateways if name != node]
    for name in gateways:
        eventually(lambda name=name: status(life, name, key) == 200, timeout_s=20)  # type: ignore[misc] # bound by default

    ended = threading.Event()
    heard: dict[str, list[Listeners]] = {node: [], other: []}
    urls = {name: f"http://{life.rack.address(name)}:8080/v1" for name in heard}
    threads = [listen(urls[name], key, ended, heard[name]) for name in heard]
    try:
        eventually(lambda: all(any(seen.begun for seen in heard[name]) for name in heard), timeout_s=20)
        done = life.run("drain", node, "--yes", "--deadline", "120", timeout_s=300)
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Nomad then moves what else runs on {node}: " in done.stderr
    assert f"{node} is empty: it may be switched off" in done.stderr
    assert "no place elsewhere" not in done.stderr
    assert on(life, node) == set()
    cut = {name: sum(seen.begun - seen.whole for seen in heard[name]) for name in heard}
    wrong = {name: {words for seen in heard[name] for words in seen.wrong} for name in heard}
    assert cut == {node: 0, other: 0}, wrong
    assert wrong[other] == set()
    assert all("Connect" in words for words in wrong[node]), wrong[node]

    assert node not in {replica.node for replica in life.wait_until_serving(2)}
    for job in (GATEWAY_JOB, CONTROLLER_JOB):
        eventually(lambda job=job: sum(job in on(life, name) for name in NODES) == 2, timeout_s=40)  # type: ignore[misc] # bound by default
    life.wait_for_dns("llm.service.consul", 2)
    assert f"{node} (leaving)" in life.ok("nodes")
    assert f"{node} is drained already" in life.run("drain", node).stderr
    life.assert_nothing_is_booked_twice()

    life.ok("undrain", node)
    (known,) = [n for n in life.get("/nodes") if n["Name"] == node]
    assert (known["SchedulingEligibility"], known["Drain"]) == ("eligible", False)
    assert f"{node} (" not in life.ok("nodes")


def test_a_gateway_that_no_other_node_can_take_is_not_waited_for(life: Life) -> None:
    for name in [name for name in NODES if GATEWAY_JOB not in on(life, name)]:
        life.ok("drain", name, "--yes")
    node = next(name for name in NODES if GATEWAY_JOB in on(life, name))

    done = life.run("drain", node, "--yes", "--deadline", "300", timeout_s=200)

    assert done.returncode == 0, done.stderr
    assert "no other node can take aivailable-gateway" in done.stderr
    assert on(life, node) == set()


def test_a_client_agent_asks_a_server_about_heartbeats(life: Life) -> None:
    asked = Life(life.rack, {**life.environment, "NOMAD_ADDR": f"http://{life.rack.address('node1')}:4646"})

    assert "a dead node is found after 3 to 5 s" in asked.ok("doctor")
