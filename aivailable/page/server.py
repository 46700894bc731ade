"""The page's server: one thread with an event loop of its own, beside whatever else the process does."""

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from aivailable.errors import UserError

GRACE_S = 1
"""What is being answered when the server ends may take so long; pictures are streamed without an end."""
STOP_TIMEOUT_S = 10.0
RENEW_S = 2.0
"""Between two looks at the certificate's files."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate with its chain and its key, PEM files; replaced ones are taken over within seconds."""

    certificate: Path
    key: Path


@contextmanager
def serving(app: Starlette, address: str, port: int, tls: Tls | None = None) -> Iterator[None]:
    """Answer on that port for as long as the context lasts, by HTTPS where there is a certificate.

    Raises:
        UserError: The port or the certificate cannot be used.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    try:
        if tls:
            _fit(tls)
        config.load()
    except OSError as error:  # what ssl raises is one, too
        raise UserError(
            f"{tls.certificate if tls else address}: {error.strerror or error}",
            hint="check AIVAILABLE_TLS_CERTIFICATE and _TLS_KEY",
        ) from error
    try:
        listener = socket.create_server((address, port))
    except OSError as error:
        raise UserError(
            f"{address}:{port}: {error.strerror}", hint="set AIVAILABLE_CONTROLLER_PORT to another port"
        ) from error
    server, stop = uvicorn.Server(config), threading.Event()
    with listener:
        threads = [threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)]
        if tls and config.ssl:
            renewing = (config.ssl, tls, stop)
            threads.append(threading.Thread(target=_renew, args=renewing, name="page-tls", daemon=True))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            stop.set()
            for thread in threads:
                thread.join(STOP_TIMEOUT_S)


def _renew(context: ssl.SSLContext, tls: Tls, stop: threading.Event) -> None:
    """Take over files that are replaced: who connects then gets the new certificate."""
    seen = _times(tls)
    while not stop.wait(RENEW_S):
        try:
            now = _times(tls)
            if now != seen:
                _fit(tls)
                context.load_cert_chain(tls.certificate, tls.key)
                seen = now
        except OSError as error:  # half of a pair that is being replaced; the old one is shown until both fit
            _log.warning("%s is not taken over: %s", tls.certificate, error)


def _fit(tls: Tls) -> None:
    """Try a pair where it does no harm: a context in use loses its key to a certificate that does not fit it.

    Raises:
        OSError: They do not belong together, cannot be read, or the key has a password.
    """
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password="")


def _times(tls: Tls) -> list[int]:
    return [path.stat().st_mtime_ns for path in (tls.certificate, tls.key)]
