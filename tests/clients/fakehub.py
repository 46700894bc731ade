"""A local HTTP server that behaves like a model hub: metadata, ranges, checksums; and misbehaves on request."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

REVISION = "a" * 40


@dataclass
class Hub:
    """What it serves and how it misbehaves. `files`: repository -> name -> bytes."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: int | None = None
    """Close every transfer after so many bytes."""
    lie_bytes: int = 0
    """Promise so many bytes more than there are."""
    ignore_ranges: bool = False
    corrupt: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    def data_requests(self) -> list[tuple[str, str]]:
        return [entry for entry in self.requests if "/resolve/" in entry[0]]


class Handler(BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        del args

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.server.hub.requests.append((path, self.headers.get("range", "")))
        self.server.hub.tokens.add(self.headers.get("authorization", "").removeprefix("Bearer "))
        if path.startswith("/api/models/"):
            repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self.metadata(repo, revision or "main")
        elif "/resolve/" in path:
            repo, _, rest = path[1:].partition("/resolve/")
            self.data(self.server.hub.files[repo][rest.partition("/")[2]])
        else:
            self.refuse(404, "EntryNotFound")

    def metadata(self, repo: str, revision: str) -> None:
        if repo in self.server.hub.gated:
            self.refuse(403, "GatedRepo")
        elif repo not in self.server.hub.files:
            self.refuse(401, "RepoNotFound")
        elif revision not in {"main", REVISION}:
            self.refuse(404, "RevisionNotFound")
        else:
            siblings = [self.sibling(name, data) for name, data in self.server.hub.files[repo].items()]
            self.answer(200, json.dumps({"id": repo, "sha": REVISION, "siblings": siblings}).encode(), {})

    def sibling(self, name: str, data: bytes) -> dict[str, object]:
        size = len(data) + self.server.hub.lie_bytes
        entry: dict[str, object] = {"rfilename": name, "size": size, "blobId": "b" * 40}
        if not name.endswith(".json"):
            digest = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"sha256": digest, "size": size, "pointerSize": 130}
        return entry

    def data(self, data: bytes) -> None:
        if self.server.hub.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        asked = self.headers.get("range")
        if asked and not self.server.hub.ignore_ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(data), len(data))
            piece = data[int(first) : end]
            total = len(data) + self.server.hub.lie_bytes
            self.answer(206, piece, {"content-range": f"bytes {first}-{end - 1}/{total}"})
        else:
            self.answer(200, data, {})

    def answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        cut = (
            self.server.hub.cut_after
            if "/resolve/" in self.path and self.server.hub.cut_after is not None
            else len(data)
        )
        self.wfile.write(data[:cut])
        if cut < len(data):
            self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, b"{}", {"x-error-code": code, "x-error-message": code})


class Server(ThreadingHTTPServer):
    def __init__(self, hub: Hub, address: str) -> None:
        super().__init__((address, 0), Handler)
        self.hub = hub


@contextmanager
def fake_hub(address: str = "127.0.0.1") -> Iterator[Hub]:
    hub = Hub()
    server = Server(hub, address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.url = f"http://{address}:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
