"""Mutual TLS between gateway and engines: who is let through, who is not, and certificates that change meanwhile."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.clients.consul_connect import ConsulCertificates
from aivailable.gateway.mesh import IDENTITY_FILE, TRUST_FILE
from aivailable.model.service import ENGINE_SERVICE, GATEWAY_SERVICE
from aivailable.seams import Identity
from aivailable.settings import ConsulSettings
from tests.gateway.ring import CONNECTION_S, Ring, ring, wait_until_served
from tests.processes import eventually

MISSING = [name for name in ("consul", "openssl") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.consul,
    pytest.mark.skipif(bool(MISSING), reason=f"not on PATH: {' '.join(MISSING)}"),
]

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


def refused(port: int, identity: Identity | None, folder: Path) -> bool:
    """Whether a proxy lets somebody with this identity ask the engine behind it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity:
        pem = folder / "identity.pem"
        pem.write_text(identity.certificate + identity.key)
        context.load_cert_chain(pem)
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as opened:
            opened.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return not opened.recv(4096).startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError):
        return True


def identity_of(mesh: Ring, service: str) -> Identity:
    certificates = ConsulCertificates(ConsulSettings(address=mesh.address))
    try:
        return certificates.identity(service)
    finally:
        certificates.close()


def forged(uri: str, folder: Path) -> Identity:
    """A certificate with the right name, signed by nobody."""
    key, chain = folder / "forged.key", folder / "forged.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", "/CN=llm"]
    subprocess.run([*words, "-addext", f"subjectAltName=URI:{uri}"], check=True, capture_output=True)
    return Identity(certificate=chain.read_text(), key=key.read_text(), uri=uri)


def test_the_gateway_is_let_through_and_nobody_else(mesh: Ring, client: httpx.Client, tmp_path: Path) -> None:
    engine = mesh.add_engine()
    wait_until_served(mesh, client)
    own = identity_of(mesh, GATEWAY_SERVICE)

    assert not refused(engine.port, own, tmp_path)
    assert refused(engine.port, None, tmp_path)
    assert refused(engine.port, forged(own.uri, tmp_path), tmp_path)
    assert refused(engine.port, identity_of(mesh, "other"), tmp_path)  # of the same authority, with no intention
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
    (line,) = [line for line in counters.splitlines() if line.startswith("envoy_cluster_ssl_fail_verify_san{")]
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
            mesh.rotate()
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
