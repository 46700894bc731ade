"""What dies and what follows: a node with no controller alive, the leader during a deploy, Consul, Nomad's server."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.clients.consul import SESSION_TTL_S
from aivailable.model.service import CONTROLLER_JOB
from tests.processes import eventually
from tests.real.life import STAND_IN, Life, allocations, fleet, secret, status
from tests.real.rack import NODES, rack, why_not

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

KILLED_S = 25.0
CONNECTION_S = 30.0
"""envoy/upstream.json: max_connection_duration."""


@pytest.fixture
def life() -> Iterator[Life]:
    with rack() as running:
        up = Life(running, {"AIVAILABLE_LLAMACPP_COMMAND": STAND_IN})
        up.ok("up")
        yield up


def test_a_dead_node_is_replaced_without_any_controller_and_tidied_by_the_next(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2}))
    before = {replica.job: replica.node for replica in life.wait_until_serving(2)}
    httpx.delete(f"{life.rack.nomad}/v1/job/{CONTROLLER_JOB}", trust_env=False).raise_for_status()
    eventually(lambda: not [pid for node in NODES for pid in life.pids(node, "controller")], timeout_s=20)
    dead = next(iter(before.values()))

    died = time.monotonic()
    life.rack.kill_node(dead)
    eventually(
        lambda: (
            {r.node for r in life.serving()}
            and dead not in {r.node for r in life.serving()}
            and len(life.serving()) == 2
        ),
        timeout_s=60,
    )
    took_s = time.monotonic() - died
    print(f"served again on other nodes {took_s:.1f} s after the node died, no controller alive")

    after = {replica.job: replica.node for replica in life.serving()}
    assert set(after) == set(before)
    life.assert_nothing_is_booked_twice()

    life.ok("up")
    eventually(life.leader, timeout_s=30)
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2}))
    tidied = {replica.job: replica.node for replica in life.serving()}
    assert len(life.replicas()) == 2
    # Nomad may have put both on one node: then one of them has moved, else nothing has.
    assert len(set(tidied.values())) == 2
    assert tidied == after or (len(set(after.values())) == 1 and len(tidied.keys() & after.keys()) == 1)


def test_another_leads_when_the_leader_ends_or_dies_and_a_deploy_is_finished_once(life: Life, tmp_path: Path) -> None:
    first = eventually(life.leader, timeout_s=20)
    (pid,) = life.pids(first, "controller --address")
    begun = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    second = eventually(lambda: (now := life.leader()) and now != first and now, timeout_s=SESSION_TTL_S)
    print(f"clean stop: another leads after {time.monotonic() - begun:.1f} s")

    slow = life.run("deploy", fleet(tmp_path, {"name": "m", "replicas": 3}), "--detach")
    assert slow.returncode == 0, slow.stderr
    (pid,) = life.pids(second, "controller --address")
    lock, begun = life.lock(), time.monotonic()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: life.lock() not in {"", lock}, timeout_s=KILLED_S)
    print(f"killed: led again after {time.monotonic() - begun:.1f} s")
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 3}))

    serving = life.wait_until_serving(3)
    assert [len(allocations(life, replica.job)) for replica in serving] == [1, 1, 1]
    assert len(life.replicas()) == 3


def test_traffic_goes_on_without_consul_and_without_nomads_server(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2}))
    life.wait_until_serving(2)
    key = secret(life)
    gateways = [node for node in NODES if life.pids(node, "envoy")]
    assert [eventually(lambda node=node: status(life, node, key) == 200, timeout_s=10) for node in gateways] == [
        True
    ] * 2  # type: ignore[misc] # a default binds the loop's value

    for name in ("consul-server", "nomad-server"):
        life.rack.kill(name)
    try:
        # Longer than a connection to an engine lasts: its proxy has to let new ones in meanwhile.
        begun = time.monotonic()
        while time.monotonic() < begun + CONNECTION_S + 10:
            assert {status(life, node, key) for node in gateways} == {200}
        (envoy, *_) = life.pids(gateways[0], "envoy --config-path")
        os.kill(envoy, signal.SIGKILL)
        eventually(lambda: status(life, gateways[0], key) == 200, timeout_s=20)
        (gateway,) = life.pids(gateways[0], "gateway --directory")
        os.kill(gateway, signal.SIGKILL)
        eventually(lambda: life.pids(gateways[0], "gateway --directory") not in ([], [gateway]), timeout_s=20)
        eventually(lambda: status(life, gateways[0], key) == 200, timeout_s=30)
        metrics = f"http://{life.rack.address(gateways[0])}:8081/metrics/feeder"
        stale = re.compile(r'stale_seconds\{store="registry"\} [1-9]')
        eventually(lambda: stale.search(httpx.get(metrics, trust_env=False, timeout=10).text), timeout_s=20)
    finally:
        life.rack.start_consul("server")
        life.rack.start_nomad("server")
