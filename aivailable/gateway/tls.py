"""TLS towards clients: the certificate as a secret in a file of Envoy's, so that a renewed one needs no restart."""

import logging
import socket
import ssl
import subprocess
from pathlib import Path

from aivailable.errors import UserError
from aivailable.gateway.policies import Resource
from aivailable.model.service import GATEWAY_SERVICE
from aivailable.settings import Settings

_log = logging.getLogger(__name__)

TLS_FILE = "tls.json"
TLS_SECRET = "clients"  # noqa: S105 - the name of a resource
OWN_DAYS = 825
_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def transport_socket(settings: Settings) -> Resource | None:
    """What makes the clients' listener speak TLS 1.2 and later; None where no certificate is given."""
    if settings.tls_certificate is None:
        return None
    source = {"resource_api_version": "V3", "path_config_source": {"path": f"./{TLS_FILE}"}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "tls_certificate_sds_secret_configs": [{"name": TLS_SECRET, "sds_config": source}],
            },
        },
    }


def with_own_certificate(settings: Settings, directory: Path) -> Settings:
    """The settings with a certificate made here, where they ask for one; that of an earlier run goes on.

    Raises:
        UserError: There is no `openssl` to make it with.
    """
    if not settings.tls_self_signed:
        return settings
    chain, key = directory / "self-signed.pem", directory / "self-signed.key"
    if not chain.is_file() or not key.is_file():
        _make(chain, key, settings.gateway_address)
        _log.warning("%s: a self-signed certificate was made; clients cannot check it", chain)
    return settings.model_copy(update={"tls_certificate": chain, "tls_key": key, "tls_self_signed": False})


def _make(chain: Path, key: Path, address: str) -> None:
    names = f"DNS:{GATEWAY_SERVICE}.service.consul,DNS:localhost,DNS:{socket.gethostname()},IP:{address}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(key), "-out", str(chain), "-days", str(OWN_DAYS), "-subj", f"/CN={GATEWAY_SERVICE}"]
    try:
        subprocess.run([*command, "-addext", f"subjectAltName={names}"], check=True, capture_output=True, umask=0o077)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"no self-signed certificate could be made: {error}",
            hint="install openssl on this node, or give AIVAILABLE_TLS_CERTIFICATE and _TLS_KEY",
        ) from error


def certificate(settings: Settings) -> Resource | None:
    """The certificate and its key, read from their files now; None where none is given.

    Raises:
        UserError: A file cannot be read, or they do not belong together.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    chain, key = settings.tls_certificate, settings.tls_key
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password=_no_password)
        texts = _text(chain), _text(key)
    except ssl.SSLError as error:
        raise UserError(
            f"{chain} and {key}: not a certificate and its key: {error.reason or error}",
            hint="give the whole chain in PEM form, and the key of its first certificate without a password",
        ) from error
    except OSError as error:
        where = error.filename or chain
        raise UserError(f"{where}: {error.strerror}", hint="check AIVAILABLE_TLS_CERTIFICATE and _TLS_KEY") from error
    return {
        "@type": f"{_TYPES}.Secret",
        "name": TLS_SECRET,
        "tls_certificate": {
            "certificate_chain": {"inline_string": texts[0]},
            "private_key": {"inline_string": texts[1]},
        },
    }


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")


def _no_password() -> str:
    return ""
