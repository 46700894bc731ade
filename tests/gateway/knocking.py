"""Trying to get into the mesh: with no certificate, a forged one, that of another service, or the right one."""

import socket
import ssl
import subprocess
from pathlib import Path

import httpx

from aivailable.clients.consul_connect import ConsulCertificates
from aivailable.seams import Identity
from aivailable.settings import ConsulSettings


def refused(address: str, port: int, identity: Identity | None, folder: Path) -> bool:
    """Whether a proxy does not let somebody with this identity ask the engine behind it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if identity:
        pem = folder / "identity.pem"
        pem.write_text(identity.certificate + identity.key)
        context.load_cert_chain(pem)
    try:
        with socket.create_connection((address, port), 5) as plain, context.wrap_socket(plain) as opened:
            opened.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return not opened.recv(4096).startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError):
        return True


def identity_of(consul: str, service: str) -> Identity:
    """The identity that this Consul gives a service."""
    certificates = ConsulCertificates(ConsulSettings(address=consul))
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


def rotate(consul: str) -> None:
    """A new root for the mesh, as an operator makes one."""
    config = f"{consul}/v1/connect/ca/configuration"
    key = subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"], capture_output=True, check=True, text=True
    ).stdout
    known = httpx.get(config, trust_env=False, timeout=10).json()["Config"]
    wanted = {"Provider": "consul", "Config": {**known, "PrivateKey": key, "RootCert": ""}}
    httpx.put(config, json=wanted, trust_env=False, timeout=10).raise_for_status()
