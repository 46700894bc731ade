"""The front on a real cluster: mutual TLS to every engine, rotations, what dies under load, drains, secrets."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.clients.consul_connect import ConsulIntentions
from aivailable.clients.nomad import NomadSecrets
from aivailable.clients.nomad_api import NomadApi
from aivailable.keystore import read_keys
from aivailable.model.replica import Replica
from aivailable.model.service import ENGINE_SERVICE, GATEWAY_SERVICE
from aivailable.settings import ConsulSettings, NomadSettings
from tests.gateway.knocking import forged, identity_of, refused, rotate
from tests.processes import eventually
from tests.real.life import STAND_IN, Life, fleet
from tests.real.rack import NODES, rack, why_not
from tests.real.traffic import streams, traffic

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

MODEL = "m"
IDLE_S = 2
ROTATING_S = 60
TOKENS = 100
STREAMS = 20


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    with rack() as running:
        up = Life(running, {"AIVAILABLE_LLAMACPP_COMMAND": f"{STAND_IN} --tokens-per-s 20"})
        up.ok("up")
        up.ok("deploy", wanted(tmp_path_factory.mktemp("fleet")))
        up.wait_until_serving(2)
        yield up


def wanted(folder: Path, context: int = 512) -> str:
    return fleet(folder, {"name": MODEL, "replicas": 2, "idle_timeout": IDLE_S, "context": context})


@pytest.fixture(scope="module")
def key(life: Life) -> str:
    api = NomadApi(NomadSettings(address=life.rack.nomad))
    try:
        return read_keys(NomadSecrets(api))[0].secret
    finally:
        api.close()


def gateways(life: Life) -> list[str]:
    return [node for node in NODES if life.pids(node, "envoy --config-path")]


def base_url(life: Life, node: str) -> str:
    return f"http://{life.rack.address(node)}:8080/v1"


def apart(life: Life) -> tuple[str, Replica]:
    """A gateway's node, and a replica on another one, when all that a test before this one broke is back."""
    serving = life.wait_until_serving(2, timeout_s=60)
    eventually(lambda: len(found := gateways(life)) == 2 and all(takes(life, node) for node in found), timeout_s=60)
    for gateway in gateways(life):
        for replica in serving:
            if replica.node != gateway:
                return gateway, replica
    raise AssertionError("every replica lies where every gateway does")


def takes(life: Life, node: str) -> bool:
    """Whether the gateway of a node takes requests: without a key it says 401."""
    try:
        return httpx.get(f"{base_url(life, node)}/models", timeout=2, trust_env=False).status_code == 401
    except httpx.TransportError:
        return False


def of_task(life: Life, replica: Replica, word: str) -> int:
    """The process of a replica's allocation whose command line holds a word."""
    mark = f"NOMAD_ALLOC_ID={replica.alloc}".encode()
    found = [pid for pid in life.pids(replica.node, word) if mark in Path(f"/proc/{pid}/environ").read_bytes()]
    return min(found)


def place(replica: Replica) -> tuple[str, int]:
    address, _, port = replica.address.rpartition(":")
    return address, int(port)


def test_engines_are_reached_by_mutual_tls_and_in_no_other_way(life: Life, tmp_path: Path) -> None:
    replica = life.wait_until_serving(2)[0]
    address, port = place(replica)
    own = identity_of(life.rack.consul, GATEWAY_SERVICE)

    assert "by mutual TLS" in life.ok("status")
    assert "2 engines are reached by mutual TLS" in life.ok("doctor")
    assert not refused(address, port, own, tmp_path)
    assert refused(address, port, None, tmp_path)
    assert refused(address, port, forged(own.uri, tmp_path), tmp_path)
    assert refused(address, port, identity_of(life.rack.consul, "other"), tmp_path)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{address}:{port}/health", trust_env=False, timeout=5)
    with socket.socket() as past:
        past.settimeout(2)
        assert past.connect_ex((address, 8000)) != 0
    intentions = ConsulIntentions(ConsulSettings(address=life.rack.consul))
    try:
        intentions.set(GATEWAY_SERVICE, ENGINE_SERVICE, allow=False)
        eventually(lambda: refused(address, port, own, tmp_path))
        done = life.run("doctor")
        assert done.returncode == 1
        assert "llm may not speak to llm-engine" in done.stdout
        assert "intentions written" in life.run("up").stderr
        eventually(lambda: not refused(address, port, own, tmp_path))
    finally:
        intentions.set(GATEWAY_SERVICE, ENGINE_SERVICE, allow=True)
        intentions.close()


def test_two_rotations_in_a_minute_of_load_fail_nothing(life: Life, key: str) -> None:
    gateway, _ = apart(life)

    def roots() -> int:
        return len(httpx.get(f"{life.rack.consul}/v1/connect/ca/roots", trust_env=False).json()["Roots"])

    before = roots()
    with traffic(base_url(life, gateway), key, MODEL) as seen:
        for part in (1, 2):
            eventually(lambda part=part: seen.asked > part * 50 * ROTATING_S / 3, timeout_s=ROTATING_S)  # type: ignore[misc] # a default binds the loop's value
            rotate(life.rack.consul)
        eventually(lambda: seen.asked >= 50 * ROTATING_S, timeout_s=2 * ROTATING_S)

    assert roots() == before + 2
    assert seen.failures == []
    assert seen.answered == seen.asked >= 50 * ROTATING_S


@pytest.mark.parametrize("what", ["engine", "sidecar", "agents"])
def test_what_is_killed_under_load_fails_nothing(life: Life, key: str, what: str) -> None:
    gateway, replica = apart(life)
    with traffic(base_url(life, gateway), key, MODEL) as seen:
        eventually(lambda: seen.answered > 50)
        if what == "agents":
            for name in (f"nomad-{replica.node}", f"consul-{replica.node}"):
                life.rack.kill(name)
        else:
            word = {"engine": "bench/engine.py", "sidecar": "connect proxy"}[what]
            os.kill(of_task(life, replica, word), signal.SIGKILL)
        after = seen.asked
        eventually(lambda: seen.asked > after + 8 * 50, timeout_s=30)
    if what == "agents":
        life.rack.start_consul(replica.node)
        life.rack.start_nomad(replica.node)
        life.rack.wait_for_nodes(*NODES)

    assert seen.failures == []
    assert seen.answered == seen.asked
    life.wait_until_serving(2, timeout_s=60)


def test_a_frozen_node_fails_nothing(life: Life, key: str) -> None:
    gateway, replica = apart(life)
    with traffic(base_url(life, gateway), key, MODEL) as seen:
        eventually(lambda: seen.answered > 50)
        life.rack.freeze(replica.node)
        try:
            after = seen.asked
            eventually(lambda: seen.asked > after + 10 * 50, timeout_s=40)
        finally:
            life.rack.thaw(replica.node)

    assert seen.failures == []
    assert seen.longest_s < 3 * IDLE_S + 2
    life.rack.wait_for_nodes(*NODES)
    life.wait_until_serving(2, timeout_s=60)


def test_replaced_engines_cut_no_stream(life: Life, key: str, tmp_path: Path) -> None:
    gateway, _ = apart(life)
    before = {replica.job for replica in life.wait_until_serving(2)}
    with streams(base_url(life, gateway), key, MODEL, STREAMS, TOKENS) as seen:
        life.ok("deploy", wanted(tmp_path, context=640), "--yes")

    assert (seen.whole, seen.wrong) == (STREAMS, [])
    assert not before & {replica.job for replica in life.wait_until_serving(2)}


def test_a_gateway_that_ends_cuts_no_stream(life: Life, key: str) -> None:
    gateway, _ = apart(life)
    (pid,) = life.pids(gateway, "gateway --directory")
    with streams(base_url(life, gateway), key, MODEL, STREAMS, TOKENS) as seen:
        os.kill(pid, signal.SIGTERM)
        with pytest.raises(httpx.ConnectError):  # it takes no more
            eventually(lambda: httpx.get(f"{base_url(life, gateway)}/models", trust_env=False).status_code == 0)

    assert (seen.whole, seen.wrong) == (STREAMS, [])
    eventually(lambda: len(gateways(life)) == 2 and len(life.dig("llm.service.consul")) == 2, timeout_s=40)


def logged(life: Life) -> list[bytes]:
    """Everything that was written to logs: agents', tasks', Envoy's."""
    found = [*life.rack.folder.rglob("*.log"), *life.rack.folder.rglob("*.std*")]
    return [path.read_bytes() for path in found if path.is_file()]


def test_secrets_stand_nowhere_that_others_read(life: Life, key: str) -> None:
    own = list(life.rack.folder.rglob("local/gateway/mesh_identity.json"))
    assert len(own) >= 2  # and one for each gateway that was started elsewhere meanwhile
    assert {path.stat().st_mode & 0o777 for path in own} == {0o600}
    secrets = [json.loads(path.read_text())["resources"][0]["tls_certificate"]["private_key"] for path in own]
    words = [key.encode(), *(secret["inline_string"].splitlines()[1].encode() for secret in secrets)]

    found = [
        path
        for path in life.rack.folder.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077 and any(word in path.read_bytes() for word in words)
    ]
    assert found == []
    for each in NODES:
        for pid in life.rack.pids(each):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert not any(word in arguments for word in words)
    with traffic(base_url(life, gateways(life)[0]), key, MODEL) as seen:
        eventually(lambda: seen.answered > 0)
    eventually(lambda: any(b"chat/completions" in text for text in logged(life)), timeout_s=20)
    jobs = [httpx.get(f"{life.rack.nomad}/v1/job/{job['ID']}", trust_env=False).content for job in life.get("/jobs")]
    assert len(jobs) >= 4
    assert not [word for word in words for text in (*jobs, *logged(life)) if word in text]
