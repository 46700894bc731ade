"""The power cord of a node: the faster of Consul's and Nomad's signals starts the work."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.processes import eventually
from tests.real.life import STAND_IN, Life, assert_at_rest, fleet, lost_by_consul
from tests.real.rack import NODES, QUICK, rack, why_not

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

KNOWN_S, CORD_S = 5.0, 15.0
"""Within what a replacement is started: after the loss is known to the faster one, and after the cord."""
NOMADS_OWN: Mapping[str, str] = {}


@pytest.mark.parametrize("heartbeats", [QUICK, NOMADS_OWN], ids=["recommended heartbeats", "Nomad's own heartbeats"])
def test_a_replacement_is_started_by_the_faster_signal(heartbeats: Mapping[str, str], tmp_path: Path) -> None:
    with rack(heartbeats=heartbeats) as running:
        life = Life(running, {"AIVAILABLE_LLAMACPP_COMMAND": STAND_IN})
        life.ok("up")
        life.ok("deploy", fleet(tmp_path, {"name": "m", "replicas": 3}))
        life.wait_until_serving(3)
        leader = eventually(life.leader, timeout_s=30)
        victim = next(node for node in NODES if node != leader)
        before = {allocation["ID"] for allocation in life.get("/allocations")}
        seen: dict[str, float] = {}

        cord = time.time()
        life.rack.kill_node(victim)

        def look() -> bool:
            now = time.time()
            if victim in lost_by_consul(life):
                seen.setdefault("Consul", now)
            if any(node["Name"] == victim and node["Status"] == "down" for node in life.get("/nodes")):
                seen.setdefault("Nomad", now)
            for allocation in life.get("/allocations"):
                if allocation["ID"] not in before and allocation["JobID"].startswith("llm-"):
                    seen.setdefault("started", allocation["CreateTime"] / 1e9)
            return "started" in seen and bool(seen.keys() & {"Consul", "Nomad"})

        eventually(look, timeout_s=60)
        after = {who: round(at - cord, 1) for who, at in seen.items()}
        known = min(at for who, at in seen.items() if who != "started")
        print(f"after the cord, in s: {after}")
        assert seen["started"] - known <= KNOWN_S
        assert seen["started"] - cord <= CORD_S
        if heartbeats is NOMADS_OWN:
            assert "Nomad" not in seen
            eventually(lambda: look() and "Nomad" in seen, timeout_s=60)
            print(f"Nomad knew {seen['Nomad'] - cord:.1f} s after the cord")

        assert_at_rest(life, 3)
        print(f"at rest {time.time() - cord:.1f} s after the cord")
