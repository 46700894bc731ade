"""A loopback server that answers what a controller asks as Nomad and Consul do, from bytes made beforehand.

`PUT /bench/touch` makes one allocation another one, as a restarted task does.
"""

import base64
import json
import pickle
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from aivailable.documents import dump_fleet, dump_measurements
from aivailable.model.service import CACHE_PREFIX, FLEET_KEY, MEASURED_PREFIX
from bench.controller import documents
from bench.controller.world import instances, measurements, sha256_of

BEGUN = 1_000
"""The index with which everything begins."""
HEARTBEAT_S = 10.0

Query = Mapping[str, str]
Answer = tuple[bytes, dict[str, str]]


class World:
    """All documents, encoded."""

    def __init__(self, saved: Path) -> None:
        fleet, snapshot = pickle.loads(saved.read_bytes())  # noqa: S301 - written by this benchmark
        nodes = {node.name: node for node in snapshot.nodes}
        self._whole_nodes = {n.id: _bytes(documents.whole_node(n, BEGUN)) for n in snapshot.nodes}
        self._nodes = [_bytes(documents.node_stub(n, BEGUN)) for n in snapshot.nodes]
        self._replicas = snapshot.replicas
        self._places = [nodes[r.node] for r in snapshot.replicas]
        self._ids = [r.alloc for r in snapshot.replicas]
        self._short = [self._allocation(n, BEGUN, whole=False) for n in range(len(self._ids))]
        self._long = [self._allocation(n, BEGUN, whole=True) for n in range(len(self._ids))]
        self._jobs = [_bytes(documents.job(r, BEGUN)) for r in snapshot.replicas]
        entries = [_bytes(documents.health(i, BEGUN)) for i in instances(snapshot)]
        self._health = b"[" + b",".join(entries) + b"]"
        self._index = BEGUN
        self._values = {FLEET_KEY: dump_fleet(fleet)}
        for sha256, found in measurements(fleet, snapshot).items():
            self._values[f"{MEASURED_PREFIX}{sha256}"] = dump_measurements(found)
        files = {model.name: sha256_of(model) for model in fleet.models}
        for replica in snapshot.replicas:
            self._values[f"{CACHE_PREFIX}{replica.node}/{files[replica.model]}"] = b""

    def _allocation(self, number: int, index: int, *, whole: bool) -> bytes:
        return _bytes(documents.allocation(self._replicas[number], self._places[number], index, whole=whole))

    def touch(self) -> Answer:
        """Another allocation has changed."""
        self._index += 1
        number = self._index % len(self._ids)
        self._short[number] = self._allocation(number, self._index, whole=False)
        self._long[number] = self._allocation(number, self._index, whole=True)
        return b"{}", {}

    def answer(self, path: str, query: Query) -> Answer | None:
        """The body and the headers; None where there is nothing."""
        if path.startswith("/v1/health/"):
            if "index" in query:
                time.sleep(float(query["wait"].removesuffix("ms")) / 1000)
            return b"[]" if "filter" in query else self._health, {"X-Consul-Index": str(BEGUN)}
        if path.startswith("/v1/kv/"):
            return self._kv(unquote(path.removeprefix("/v1/kv/")), query)
        if path == "/v1/nodes":
            return _page([*self._whole_nodes.values()] if "resources" in query else self._nodes, query, BEGUN)
        if path.startswith("/v1/node/"):
            return self._whole_nodes[path.removeprefix("/v1/node/")], _index(BEGUN)
        if path == "/v1/allocations":
            return self._allocations(query)
        if path == "/v1/jobs":
            return _page(self._jobs, query, BEGUN)
        if path.endswith("/allocations"):
            return b"[]", _index(self._index)
        return None

    def _allocations(self, query: Query) -> Answer:
        entries = self._short if query.get("task_states") == "false" else self._long
        if prefix := query.get("prefix"):
            entries = [e for key, e in zip(self._ids, entries, strict=True) if key.startswith(prefix)]
        return _page(entries, query, self._index)

    def _kv(self, key: str, query: Query) -> Answer | None:
        if "index" in query:
            time.sleep(float(query["wait"].removesuffix("ms")) / 1000)
        headers = {"X-Consul-Index": str(BEGUN)}
        found = {k: v for k, v in self._values.items() if k.startswith(key)}
        if "keys" in query:
            return (_bytes(list(found)), headers) if found else None
        entries = found if "recurse" in query else {key: self._values[key]} if key in self._values else {}
        body = [{"Key": k, "Value": base64.b64encode(v).decode(), "ModifyIndex": BEGUN} for k, v in entries.items()]
        return (_bytes(body), headers) if body else None


class Handler(StreamRequestHandler):
    """One connection, kept open; small enough that what is measured is the controller."""

    server: "Server"

    def handle(self) -> None:
        """Answer until the other side leaves."""
        with suppress(ConnectionError):
            self._answer()

    def _answer(self) -> None:
        while line := self.rfile.readline():
            method, target, _ = line.decode().split(" ", 2)
            length = 0
            while (header := self.rfile.readline()).strip():
                name, _, value = header.decode().partition(":")
                length = int(value) if name.lower() == "content-length" else length
            self.rfile.read(length)
            parts = urlsplit(target)
            if parts.path == "/v1/event/stream":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                while True:
                    self.wfile.write(b"{}\n")
                    time.sleep(HEARTBEAT_S)
            self._reply(method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))

    def _reply(self, method: str, path: str, query: Query) -> None:
        world = self.server.world
        found = world.touch() if path == "/bench/touch" else world.answer(path, query) if method == "GET" else None
        status = "200 OK" if found else "404 Not Found"
        body, headers = found or (b"", {"X-Consul-Index": str(BEGUN)})
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)


class Server(ThreadingTCPServer):
    """A thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, world: World) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.world = world


def _page(entries: Sequence[bytes], query: Query, index: int) -> Answer:
    """A page of a list; the token is the place where the next one begins."""
    begin = int(query.get("next_token", "0"))
    end = begin + int(query["per_page"]) if "per_page" in query else len(entries)
    token = {"X-Nomad-NextToken": str(end)} if end < len(entries) else {}
    return b"[" + b",".join(entries[begin:end]) + b"]", {**_index(index), **token}


def _index(index: int) -> dict[str, str]:
    return {"X-Nomad-Index": str(index)}


def _bytes(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


if __name__ == "__main__":
    with Server(World(Path(sys.argv[1]))) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
