"""Consul as a witness: it names the node that it no longer hears, and wakes whoever watches its engines."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.clients.consul import ConsulRegistry
from aivailable.model.service import ENGINE_SERVICE
from aivailable.settings import ConsulSettings
from tests.processes import eventually
from tests.real.rack import NODES, SERVER, Rack, free_number, why_not

pytestmark = [
    pytest.mark.consul,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

LOST_S = 30.0


@pytest.fixture
def agents() -> Iterator[Rack]:
    """A rack with Consul alone."""
    with tempfile.TemporaryDirectory(prefix="aiv", ignore_cleanup_errors=True) as folder:
        built = Rack(folder=Path(folder), number=free_number())
        try:
            built.build()
            for node in (SERVER, *NODES):
                built.start_consul(node)
            members = f"{built.consul}/v1/health/state/passing"
            eventually(lambda: len(serf(members)) == 1 + len(NODES), timeout_s=60)
            yield built
        finally:
            built.end()


def serf(url: str) -> list[str]:
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return []
    return [check["Node"] for check in answer.json() if check["CheckID"] == "serfHealth"] if answer.is_success else []


def test_a_lost_node_is_named_and_wakes_who_watches_engines(agents: Rack) -> None:
    node, *_ = NODES
    registration = {"Name": ENGINE_SERVICE, "Port": 1}
    where = f"http://{agents.address(node)}:8500/v1/agent/service/register"
    httpx.put(where, json=registration, trust_env=False).raise_for_status()
    registry = ConsulRegistry(ConsulSettings(address=agents.consul))
    eventually(lambda: registry.instances(ENGINE_SERVICE), timeout_s=20)
    assert registry.lost_nodes() == frozenset()
    index = registry.services_changed(ENGINE_SERVICE, 0, 1.0)

    killed = time.monotonic()
    agents.kill(f"consul-{node}")

    assert registry.services_changed(ENGINE_SERVICE, index, LOST_S) != index
    assert registry.lost_nodes() == {node}
    print(f"{node} lost {time.monotonic() - killed:.1f} s after its agent was killed")
    registry.close()
