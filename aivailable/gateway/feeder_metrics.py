"""What the feeder tells Prometheus of itself, on a Unix socket; the gateway's probe port passes it on."""

import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

FEEDER_SOCKET = "feeder.sock"
STALE = "aivailable_gateway_stale_seconds"


def text_of(stale_s: Mapping[str, float]) -> str:
    """The metrics in Prometheus' text form: for how long each store has not been read, in seconds."""
    lines = [f"# HELP {STALE} How long ago this store could be read last.", f"# TYPE {STALE} gauge"]
    lines += [f'{STALE}{{store="{store}"}} {seconds:.3f}' for store, seconds in sorted(stale_s.items())]
    return "\n".join(lines) + "\n"


@contextmanager
def serving(directory: Path, stale_s: Callable[[], Mapping[str, float]]) -> Iterator[None]:
    """Answer on the socket of a gateway's directory for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text_of(stale_s()).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"  # a Unix socket's peer has no address

        def log_message(self, *_: object) -> None:
            pass

    path = directory / FEEDER_SOCKET
    path.unlink(missing_ok=True)
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="feeder-metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            path.unlink(missing_ok=True)
