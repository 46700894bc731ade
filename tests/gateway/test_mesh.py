"""Mutual TLS between gateway and engines: who is let through, who is not, and certificates that change meanwhile."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.gateway.mesh import IDENTITY_FILE, TRUST_FILE
from aivailable.gateway.probes import PROBES_FILE, engine_path
from aivailable.model.service import ENGINE_SERVICE, GATEWAY_SERVICE
from tests.gateway.knocking import forged, identity_of, refused, rotate
from tests.gateway.ring import CONNECTION_S, Proxied, Ring, ring, wait_until_served
from tests.processes import eventually

MISSING = [name for name in ("consul", "openssl") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.consul,
    pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {' '.join(MISSING)}"),
]

HERE = "127.0.0.1"
LOAD_S = 12.0
PAUSE_S = 0.02
"""Between two requests of the load: up to 50 a second."""


@pytest.fixture
def mesh(lone_consul: str, tmp_path: Path) -> Iterator[Ring]:
    with ring(lone_consul, tmp_path) as running:
        yield running


@pytest.fixture
def client(mesh: Ring) -> Iterator[httpx.Client]:
    with mesh.front.client() as opened:
        yield opened


def test_the_gateway_is_let_through_and_nobody_else(mesh: Ring, client: httpx.Client, tmp_path: Path) -> None:
    engine = mesh.add_engine()
    wait_until_served(mesh, client)
    own = identity_of(mesh.address, GATEWAY_SERVICE)

    assert not refused(HERE, engine.port, own, tmp_path)
    assert refused(HERE, engine.port, None, tmp_path)
    assert refused(HERE, engine.port, forged(own.uri, tmp_path), tmp_path)
    assert refused(
        HERE, engine.port, identity_of(mesh.address, "other"), tmp_path
    )  # of the same authority, with no intention
    with pytest.raises(httpx.RemoteProtocolError):  # a proxy speaks no plain HTTP
        httpx.get(f"http://127.0.0.1:{engine.port}/health", trust_env=False)


def test_an_engine_that_shows_another_name_is_not_spoken_to(mesh: Ring, client: httpx.Client) -> None:
    intentions = mesh.intentions()
    intentions.set(GATEWAY_SERVICE, "other", allow=True)
    impostor = mesh.add_engine(identity="other")
    eventually(lambda: str(impostor.port) in mesh.log("endpoints_m-a.json"), timeout_s=20)

    answer = mesh.ask(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
    assert impostor.engine.served() == 0
    counters = httpx.get(f"http://127.0.0.1:{mesh.front.envoy.probe_port}/metrics", trust_env=False).text
    name = 'envoy_cluster_ssl_fail_verify_san{envoy_cluster_name="llm_m-a"}'
    (line,) = [line for line in counters.splitlines() if line.startswith(name)]
    assert int(line.rpartition(" ")[2]) >= 1


def test_a_withdrawn_intention_acts_on_open_connections_too(mesh: Ring, client: httpx.Client) -> None:
    mesh.add_engine()
    wait_until_served(mesh, client)
    intentions = mesh.intentions()
    try:
        intentions.set(GATEWAY_SERVICE, ENGINE_SERVICE, allow=False)
        eventually(lambda: mesh.ask(client).status_code == 503, timeout_s=CONNECTION_S + 5)
    finally:
        intentions.set(GATEWAY_SERVICE, ENGINE_SERVICE, allow=True)
    wait_until_served(mesh, client)


def test_rotations_under_load_fail_no_request(mesh: Ring, client: httpx.Client) -> None:
    for _ in range(2):
        mesh.add_engine()
    wait_until_served(mesh, client)
    codes: list[int] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            codes.append(mesh.ask(client).status_code)
            ended.wait(PAUSE_S)

    before = mesh.log(TRUST_FILE).count("BEGIN CERTIFICATE")
    loading = threading.Thread(target=load)
    loading.start()
    try:
        for rotations in (1, 2):
            rotate(mesh.address)
            eventually(
                lambda wanted=before + rotations: mesh.log(TRUST_FILE).count("BEGIN CERTIFICATE") == wanted,  # type: ignore[misc] # a default binds the loop's value
                timeout_s=10,
            )
            seen = len(codes)
            eventually(lambda seen=seen: len(codes) > seen + LOAD_S / 3 / PAUSE_S / 2, timeout_s=LOAD_S)  # type: ignore[misc] # as above
    finally:
        ended.set()
        loading.join(10)
    assert set(codes) == {200}


def test_identity_is_for_its_owner_only_and_in_no_log(mesh: Ring, client: httpx.Client) -> None:
    mesh.add_engine()
    wait_until_served(mesh, client)

    assert (mesh.folder / "gateway" / IDENTITY_FILE).stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" not in mesh.log() + mesh.log("access.log") + mesh.log(TRUST_FILE)


def test_the_metrics_of_an_engine_are_read_through_the_gateway(mesh: Ring, client: httpx.Client) -> None:
    engine = mesh.add_engine()
    wait_until_served(mesh, client)
    impostor = mesh.add_engine(identity="other")
    port = mesh.front.envoy.probe_port

    def read(which: Proxied) -> httpx.Response:
        return httpx.get(f"http://{HERE}:{port}{engine_path(HERE, which.port)}", trust_env=False, timeout=10)

    eventually(lambda: str(impostor.port) in mesh.log(PROBES_FILE), timeout_s=20)
    assert f"requests_served {engine.engine.served()}" in read(engine).text
    assert eventually(lambda: read(impostor).status_code == 503)


def test_engines_outside_the_mesh_are_reached_while_the_mesh_comes(mesh: Ring, client: httpx.Client) -> None:
    """Replicas from before the mesh serve until their successors do."""
    plain = mesh.add_engine()
    mesh.consul(
        "PUT",
        "/agent/service/register",
        {
            "ID": plain.id,
            "Name": ENGINE_SERVICE,
            "Address": "127.0.0.1",
            "Port": plain.engine.port,
            "Meta": {"model": "m-a"},
        },
    )
    wait_until_served(mesh, client)
    assert plain.engine.served() >= 1
