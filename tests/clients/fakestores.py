"""A Nomad and a Consul in one HTTP server on loopback: lists with indexes and pages, and a record of what was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Document = dict[str, Any]


@dataclass
class Stores:
    """What they hold. Every change made through `write` raises the index of its table, as in the real ones."""

    tables: dict[str, dict[str, Document]] = field(
        default_factory=lambda: {"nodes": {}, "allocations": {}, "jobs": {}, "service": {}, "connect": {}}
    )
    indexes: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Paths that fail."""
    words: dict[str, str] = field(default_factory=dict)
    """What is said with status 500 where a path is asked for."""
    url: str = ""
    written: int = 10

    def write(self, table: str, key: str, document: Document | None) -> None:
        """Write an entry, or delete it."""
        self.written += 1
        self.indexes[table] = self.written
        if document is None:
            del self.tables[table][key]
        else:
            self.tables[table][key] = {**document, "ModifyIndex": self.written}

    def paths(self) -> list[str]:
        """The paths asked for since the last time this was asked."""
        asked, self.asked = self.asked, []
        return [path for path, _ in asked]


class Handler(BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        del args

    def do_GET(self) -> None:
        parts, stores = urlsplit(self.path), self.server.stores
        query = dict(parse_qsl(parts.query))
        stores.asked.append((parts.path, query))
        kind, _, rest = parts.path.removeprefix("/v1/").partition("/")
        if parts.path in stores.broken:
            self.answer(400, "broken")
        elif parts.path in stores.words:
            self.answer(500, stores.words[parts.path])
        elif kind == "health":
            table = rest.partition("/")[0]
            entries = [] if "filter" in query else [*stores.tables[table].values()]
            self.answer(200, entries, **{"X-Consul-Index": stores.indexes.get(table, 1)})
        elif kind in stores.tables:
            self.page(kind, query)
        elif kind == "node":
            self.answer(200, stores.tables["nodes"][rest])
        else:
            self.answer(404, "")

    def page(self, table: str, query: dict[str, str]) -> None:
        stores = self.server.stores
        entries = [e for key, e in stores.tables[table].items() if key.startswith(query.get("prefix", ""))]
        if table == "allocations" and query.get("task_states") == "false":
            entries = [{**e, "TaskStates": None, "AllocatedResources": None} for e in entries]
        begin, size = int(query.get("next_token", "0")), int(query.get("per_page", len(entries) or 1))
        headers = {"X-Nomad-NextToken": begin + size} if begin + size < len(entries) else {}
        self.answer(200, entries[begin : begin + size], **{"X-Nomad-Index": stores.indexes.get(table, 1), **headers})

    def answer(self, status: int, body: object, **headers: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    def __init__(self, stores: Stores) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stores = stores


@contextmanager
def fake_stores() -> Iterator[Stores]:
    stores = Stores()
    server = Server(stores)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    stores.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stores
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
