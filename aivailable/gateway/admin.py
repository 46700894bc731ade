"""Envoy's admin interface on its Unix socket: its counters, and how it is told to stop."""

import http.client
import socket
from pathlib import Path

ADMIN_SOCKET = "admin.sock"
METRICS_PATH = "/stats/prometheus"
TIMEOUT_S = 2.0


def ask(directory: Path, path: str, *, method: str = "GET") -> str:
    """What the Envoy of a directory answers; empty while none does."""
    connection = _Unix(directory / ADMIN_SOCKET)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def drain(directory: Path) -> None:
    """Fail the readiness check, close connections after their answer, accept no more; what is asked is answered."""
    ask(directory, "/healthcheck/fail", method="POST")
    ask(directory, "/drain_listeners?inboundonly", method="POST")


def active_requests(directory: Path) -> int:
    """Requests of clients that are being answered now."""
    name = "http.http.downstream_rq_active"
    text = ask(directory, f"/stats?filter=^{name.replace('.', '%5C.')}$")
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name}: "))


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))
