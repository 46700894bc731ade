"""A part of the rack that the rest cannot hear: a controller, a gateway, a node; and a leader that stood still."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aivailable.clients.consul import SESSION_TTL_S
from tests.processes import eventually
from tests.real.life import (
    LED_S,
    REST_S,
    STAND_IN,
    Life,
    allocations,
    assert_at_rest,
    fleet,
    jobs,
    leading,
    secret,
    status,
)
from tests.real.network import CONSUL_PORTS, NOMAD_PORTS, cut_off, unplugged
from tests.real.rack import NODES, rack, why_not

MISSING = why_not() or ("" if shutil.which("iptables") else "no `iptables` on PATH")

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "there is all that is needed"),
]

CONTROLLER = "controller --address"
GIVE_UP_S = 30.0
"""When a client gives up."""


@pytest.fixture
def life() -> Iterator[Life]:
    with rack() as running:
        up = Life(running, {"AIVAILABLE_LLAMACPP_COMMAND": STAND_IN})
        up.ok("up")
        yield up


def pair(life: Life) -> tuple[str, str]:
    """The nodes of the controller that leads and of the one that waits."""
    first = eventually(life.leader, timeout_s=30)
    second = eventually(lambda: [n for n in NODES if n != first and life.pids(n, CONTROLLER)], timeout_s=30)
    return first, second[0]


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process stands still until the context ends."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_leader_cut_off_from_consul_stops_acting_and_another_leads(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 1}))
    first, second = pair(life)
    (waiting,) = life.pids(second, CONTROLLER)
    before = jobs(life)

    with cut_off(life.rack, first, *CONSUL_PORTS):
        begun = time.monotonic()
        with frozen(waiting):  # whatever is done now is done by the one that is cut off
            life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2}), "--detach")
            eventually(lambda: not life.lock(), timeout_s=LED_S)
            print(f"its session ended {time.monotonic() - begun:.1f} s after the cut")
            quiet_until = time.monotonic() + SESSION_TTL_S
            while time.monotonic() < quiet_until:
                assert jobs(life) == before
        eventually(lambda: life.leader() == second, timeout_s=LED_S)
        print(f"another leads {time.monotonic() - begun:.1f} s after the cut")
        eventually(lambda: len({r.node for r in life.serving()} - {first}) == 2, timeout_s=REST_S)
        print(f"both serve where Consul hears them {time.monotonic() - begun:.1f} s after the cut")
        eventually(lambda: first not in leading(life), timeout_s=LED_S + 30)
        led = life.lock()

    assert_at_rest(life, 2)
    assert life.lock() == led
    assert {len(allocations(life, job)) for job in jobs(life)} == {1}


def test_a_leader_cut_off_from_nomad_leaves_the_lock_to_one_who_can_act(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2}))
    first, _ = pair(life)
    (cut,) = life.pids(first, CONTROLLER)

    begun = time.monotonic()
    with cut_off(life.rack, first, *NOMAD_PORTS):
        eventually(lambda: life.leader() not in {"", first}, timeout_s=90)
        print(f"another leads {time.monotonic() - begun:.1f} s after the cut")
        life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 3}))
        assert first not in {replica.node for replica in life.serving()}
        assert life.pids(first, CONTROLLER) == [cut]
        assert leading(life) == [life.leader()]

    assert_at_rest(life, 3)


def test_a_gateway_cut_off_from_consul_and_nomad_goes_on(life: Life, tmp_path: Path) -> None:
    """Slower where it asks the engine of its own node: that one's proxy asks its agent about each new connection."""
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 3}))
    assert {replica.node for replica in life.wait_until_serving(3)} == set(NODES)
    key = secret(life)
    gateway, *_ = gateways = [node for node in NODES if life.pids(node, "envoy")]
    for node in gateways:
        eventually(lambda node=node: status(life, node, key) == 200, timeout_s=20)  # type: ignore[misc] # a default binds the loop's value

    with cut_off(life.rack, gateway, *CONSUL_PORTS, *NOMAD_PORTS):
        begun, answers, longest_s = time.monotonic(), 0, 0.0
        while time.monotonic() < begun + 45:
            asked = time.monotonic()
            assert status(life, gateway, key, timeout_s=GIVE_UP_S) == 200
            longest_s = max(longest_s, time.monotonic() - asked)
            answers += 1
        print(f"{answers} answers in 45 s behind the cut, none failed, the longest took {longest_s:.1f} s")

    assert_at_rest(life, 3)
    eventually(lambda: sum(status(life, node, key) == 200 for node in NODES) == 2, timeout_s=REST_S)


def test_a_node_whose_cable_was_out_serves_nothing_twice(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 2}))
    lost = life.wait_until_serving(2)[0].node

    begun = time.monotonic()
    with unplugged(life.rack, lost):
        eventually(lambda: len({r.node for r in life.serving()} - {lost}) == 2, timeout_s=REST_S)
        print(f"served again elsewhere {time.monotonic() - begun:.1f} s after the cable was out")
        life.assert_nothing_is_booked_twice()
        assert life.pids(lost, "engine.py --")  # nobody could tell it to end
    begun = time.monotonic()

    assert_at_rest(life, 2)
    print(f"served once only {time.monotonic() - begun:.1f} s after the cable was in")


def test_a_leader_that_stood_still_while_another_led_does_nothing_twice(life: Life, tmp_path: Path) -> None:
    first, second = pair(life)
    (still,) = life.pids(first, CONTROLLER)
    life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 3}), "--detach")
    eventually(lambda: jobs(life), timeout_s=20)

    begun = time.monotonic()
    with frozen(still):  # with what it had begun, or had planned
        eventually(lambda: life.leader() == second, timeout_s=LED_S)
        print(f"another leads {time.monotonic() - begun:.1f} s after the leader stood still")
        life.wait_until_serving(3)
        life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 1}), "--detach")
        life.wait_until_serving(1)
        acted = jobs(life)

    serving = assert_at_rest(life, 1)
    assert jobs(life) == acted
    assert [len(allocations(life, job)) for job in acted] == [1, 1, 1]
    assert life.leader() == second
    assert serving[0].job in acted
