"""The Envoy beside Open WebUI, by its configuration in the rendered job: any gateway in Consul's DNS, checked TLS."""

import re
import shutil
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from aivailable.gateway.envoy import envoy_command
from aivailable.rendering import render_open_webui
from aivailable.rendering.open_webui import DNS_PORT
from aivailable.settings import Settings
from tests.processes import eventually, free_port
from tests.real.rack import consul_agent

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.consul,
    pytest.mark.skipif(shutil.which("consul") is None, reason="no `consul` on PATH"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no `openssl` on PATH to make certificates"),
]
ADDRESSES = ("127.0.0.1", "127.0.0.2")


class Gateway(BaseHTTPRequestHandler):
    """Says which address was reached."""

    def do_GET(self) -> None:
        body = str(self.server.server_address[0]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """Keeps what went wrong with connections, such as a client's refusal of the certificate."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), Gateway)
        self.errors: list[str] = []

    def handle_error(self, *_: object) -> None:
        self.errors.append(repr(sys.exc_info()[1]))


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for a name, and its key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    files = ("-keyout", str(key), "-out", str(chain), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
    subprocess.run([*new, *files], check=True, capture_output=True)
    return chain, key


@contextmanager
def gateway(address: str, port: int, pair: tuple[Path, Path] | None) -> Iterator[Server]:
    server = Server(address, port)
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@contextmanager
def endpoint(folder: Path, settings: Settings, dns_port: int) -> Iterator[str]:
    """Envoy as the job starts it; its address."""
    text = render_open_webui(settings, data="/data").text
    (found,) = re.findall(r"<<-EOT\n(\s*static_resources:.*?)\n\s*EOT", text, re.DOTALL)
    port = free_port()
    config = textwrap.dedent(found).replace('{{ env "NOMAD_PORT_endpoint" }}', str(port))
    (folder / "envoy.yaml").write_text(config.replace(f"port_value: {DNS_PORT}}}", f"port_value: {dns_port}}}"))
    flags = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [envoy_command(), "-c", str(folder / "envoy.yaml"), *flags],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def ask(url: str) -> str:
    """The address of the gateway that answered; empty when none did."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).text
    except httpx.TransportError:
        return ""


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A Consul and the port of its DNS."""
    port = free_port()
    with consul_agent(tmp_path_factory.mktemp("consul"), dns_port=port) as address:
        yield address, port


def register(consul: str, port: int) -> None:
    """Both gateways are in Consul."""
    for address in ADDRESSES:
        service = {"ID": f"llm-{address}", "Name": "llm", "Address": address, "Port": port}
        httpx.put(f"{consul}/v1/agent/service/register", json=service, trust_env=False).raise_for_status()


def test_a_gateway_that_dies_or_leaves_is_not_missed(consul: tuple[str, int], tmp_path: Path) -> None:
    port = free_port()
    register(consul[0], port)
    settings = Settings(gateway_port=port)
    with gateway(ADDRESSES[1], port, None), endpoint(tmp_path, settings, consul[1]) as url:
        with gateway(ADDRESSES[0], port, None):
            eventually(lambda: {ask(url) for _ in range(4)} == set(ADDRESSES))
        assert {ask(url) for _ in range(20)} == {ADDRESSES[1]}  # DNS still names both

        httpx.put(f"{consul[0]}/v1/agent/service/deregister/llm-{ADDRESSES[0]}", trust_env=False).raise_for_status()
        assert {ask(url) for _ in range(5)} == {ADDRESSES[1]}


@pytest.mark.parametrize(
    ("trusted", "self_signed", "reached"),
    [("llm.service.consul", False, True), ("other.example", False, False), ("", True, True)],
    ids=["trusted", "another authority", "self-signed"],
)
def test_the_gateways_certificate_is_checked_unless_it_signed_itself(
    consul: tuple[str, int], tmp_path: Path, *, trusted: str, self_signed: bool, reached: bool
) -> None:
    port = free_port()
    register(consul[0], port)
    pair = certificate(tmp_path, "llm.service.consul")
    if trusted not in ("", "llm.service.consul"):
        certificate(tmp_path, trusted)
    given = {"tls_self_signed": True} if self_signed else {"tls_certificate": pair[0], "tls_key": pair[1]}
    settings = Settings(gateway_port=port, tls_ca=tmp_path / f"{trusted}.pem" if trusted else None, **given)
    with ExitStack() as running:
        servers = [running.enter_context(gateway(address, port, pair)) for address in ADDRESSES]
        url = running.enter_context(endpoint(tmp_path, settings, consul[1]))
        if reached:
            assert eventually(lambda: ask(url)) in ADDRESSES
        else:
            eventually(lambda: refused(url, *servers))


def refused(url: str, *servers: Server) -> bool:
    """Whether a gateway was told that its certificate will not do; nothing was answered."""
    assert ask(url) == ""
    return any("ALERT" in error for server in servers for error in server.errors)


def test_a_certificate_for_another_name_is_not_taken(consul: tuple[str, int], tmp_path: Path) -> None:
    port = free_port()
    register(consul[0], port)
    pair = certificate(tmp_path, "elsewhere.example")
    settings = Settings(gateway_port=port, tls_ca=pair[0], tls_certificate=pair[0], tls_key=pair[1])
    with gateway(ADDRESSES[0], port, pair) as server, endpoint(tmp_path, settings, consul[1]) as url:
        eventually(lambda: refused(url, server))
