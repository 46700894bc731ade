"""What stands for engines: nginx with a ready answer, plain and by mutual TLS; it is never the limit."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aivailable.errors import UserError
from aivailable.gateway.mesh import Mesh
from aivailable.seams import Identity
from bench.gateway.processes import free_port, running

TRUST = "spiffe://bench.consul/ns/default/dc/dc1/svc"
ANSWER = {
    "id": "chatcmpl-0123456789abcdef0123456789abcdef",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "m-a",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris. " * 8},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 280, "completion_tokens": 64, "total_tokens": 344},
    "system_fingerprint": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Two ports in plain HTTP, two that want a client certificate, and our identity for those."""

    ports: tuple[int, int]
    tls_ports: tuple[int, int]
    mesh: Mesh


@contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    """Run it for as long as the context lasts.

    Raises:
        UserError: nginx or openssl is not installed.
    """
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    for needed in (program, "openssl", "wrk"):
        if shutil.which(needed) is None:
            raise UserError(f"{needed} is not installed", hint="tests/setup.sh installs it on Debian")
    mesh = _certificates(folder)
    ports = [free_port() for _ in range(4)]
    answer = json.dumps(ANSWER)
    servers = "".join(_server(f"127.0.0.1:{port}", answer) for port in ports[:2])
    servers += "".join(_server(f"127.0.0.1:{port} ssl", answer, folder=folder) for port in ports[2:])
    text = f"""daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
        events {{ worker_connections 4096; }}
        http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 64m;
        client_body_buffer_size 1m; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
        default_type application/json;
        {servers} }}"""
    (folder / "nginx.conf").write_text(text)
    with running([program, "-c", str(folder / "nginx.conf")], ports[0], folder / "nginx.log"):
        yield Upstream(ports=(ports[0], ports[1]), tls_ports=(ports[2], ports[3]), mesh=mesh)


def _server(listen: str, answer: str, *, folder: Path | None = None) -> str:
    tls = ""
    if folder:
        tls = f"""ssl_certificate {folder}/llm-engine.pem; ssl_certificate_key {folder}/llm-engine.key;
            ssl_client_certificate {folder}/ca.pem; ssl_verify_client on; ssl_protocols TLSv1.2 TLSv1.3;"""
    models = '{"object":"list","data":[{"id":"m-a","object":"model"}]}'
    return f"""server {{ listen {listen} reuseport backlog=4096; {tls}
        location = /health {{ return 200 "ok"; }}
        location = /v1/models {{ return 200 '{models}'; }}
        location / {{ return 200 '{answer}'; }} }}
        """


def _certificates(folder: Path) -> Mesh:
    """A small authority and two leaves, as Consul's: EC P-256, the service in a SPIFFE URI."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench", "-days", "2"]
    _openssl(folder, "req", "-x509", *curve, *authority)
    for service in ("llm", "llm-engine"):
        _openssl(
            folder, "req", *curve, "-keyout", f"{service}.key", "-out", f"{service}.csr", "-subj", f"/CN={service}"
        )
        (folder / "san").write_text(f"subjectAltName=URI:{TRUST}/{service}\n")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san", "-days", "2"]
        _openssl(folder, "x509", "-req", "-in", f"{service}.csr", *signed, "-out", f"{service}.pem")
    identity = Identity(
        certificate=(folder / "llm.pem").read_text(), key=(folder / "llm.key").read_text(), uri=f"{TRUST}/llm"
    )
    return Mesh(identity=identity, roots=(folder / "ca.pem").read_text())


def _openssl(folder: Path, *words: str) -> None:
    program = shutil.which("openssl") or "openssl"
    subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)
