"""An OpenAI-shaped stand-in engine for load and chaos: `python -m bench.engine --port P`.

It answers made-up words at a given speed; answers shown to people come from real engines. It takes the flags of our
llama.cpp job, so that the same job text can start it (setting `llamacpp_command`), and behaves like an engine where it
matters to what stands in front: 503 while loading, JSON and SSE with usage, a queue, a drain on SIGTERM.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

MODEL_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
BODY_BYTES_MAX = 64 * 1024 * 1024
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    body: bytes
    keep_alive: bool


@dataclass(slots=True)
class Engine:
    """The state of one stand-in: whether it is loaded, and what is in flight."""

    options: argparse.Namespace
    loaded: bool = False
    in_flight: int = 0
    served: int = 0
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while (request := await _read(reader)) is not None:
                self.in_flight += 1
                try:
                    await self._answer(request, writer)
                finally:
                    self.in_flight -= 1
                if not request.keep_alive or self.draining.is_set():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the peer went away or does not speak HTTP; nothing can be answered
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.path == "/health":
            status, document = (200, {"status": "ok"}) if self.loaded else (503, _error("Loading model", 503))
        elif request.path == "/v1/models":
            status, document = 200, {"object": "list", "data": [{"id": self.options.alias, "object": "model"}]}
        elif request.path == "/metrics":
            text = f"llamacpp:requests_processing {self.in_flight - 1}\nllamacpp:requests_served {self.served}\n"
            await _send(writer, 200, text.encode(), "text/plain")
            return
        elif request.path not in MODEL_PATHS or request.method != "POST":
            status, document = 404, _error("File Not Found", 404)
        elif not self.loaded:
            status, document = 503, _error("Loading model", 503)
        else:
            await self._complete(request, writer)
            return
        await _send(writer, status, json.dumps(document).encode())

    async def _complete(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(request.body)
            tokens = int(asked.get("max_tokens") or asked.get("max_completion_tokens") or 16)
        except (ValueError, TypeError, AttributeError):
            await _send(writer, 400, json.dumps(_error("invalid request", 400)).encode())
            return
        self.served += 1
        usage = {"prompt_tokens": len(request.body) // 4, "completion_tokens": tokens}
        usage["total_tokens"] = sum(usage.values())
        if request.path == "/v1/embeddings":
            await self._pause(self.options.ttft_ms / 1000)
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
            await _send(writer, 200, json.dumps({"object": "list", "data": data, "usage": usage}).encode())
        elif asked.get("stream"):
            await self._stream(asked, tokens, usage, writer)
        else:
            text = "".join([word async for word in self._words(tokens)])
            document = {**_head(asked, request.path), "choices": [_choice(request.path, text)], "usage": usage}
            await _send(writer, 200, json.dumps(document).encode())

    async def _stream(self, asked: Any, tokens: int, usage: dict[str, int], writer: asyncio.StreamWriter) -> None:
        head = {**_head(asked, "/v1/chat/completions"), "object": "chat.completion.chunk"}
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        async for word in self._words(tokens):
            _event(writer, {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
            await writer.drain()
        _event(writer, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            _event(writer, {**head, "choices": [], "usage": usage})
        writer.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await writer.drain()

    async def _words(self, tokens: int) -> AsyncIterator[str]:
        await self._pause(self.options.ttft_ms / 1000)
        for number in range(tokens):
            if number and self.options.tokens_per_s:
                await self._pause(1 / self.options.tokens_per_s)
            yield f"word{number} "

    async def _pause(self, seconds: float) -> None:
        """The time a real engine would compute."""
        if seconds:
            await asyncio.sleep(seconds)

    async def load(self) -> None:
        """Become ready after the load time."""
        await self._pause(self.options.load_s)
        self.loaded = True


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None when the peer has ended."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    lines = head.split("\r\n")
    method, path, version = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        length = int(headers.get("content-length", "0"))
        if length > BODY_BYTES_MAX:
            raise ValueError("body too large")
        body = await reader.readexactly(length)
    keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(method, path.partition("?")[0], body, keep_alive)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, kind: str = "application/json") -> None:
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


def _event(writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
    writer.write(_chunk(b"data: " + json.dumps(document).encode() + b"\n\n"))


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _head(asked: Any, path: str) -> dict[str, Any]:
    kind = "chat.completion" if path.startswith("/v1/chat") else "text_completion"
    return {"id": "standin-1", "object": kind, "created": 0, "model": asked.get("model", "")}


def _choice(path: str, text: str) -> dict[str, Any]:
    if path.startswith("/v1/chat"):
        return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"index": 0, "text": text, "finish_reason": "stop"}


def _error(message: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": "unavailable_error", "code": code}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.engine", description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("-a", "--alias", "--model-name", default="stand-in", help="name that clients ask for")
    parser.add_argument("--load-s", type=float, default=0.0, help="seconds until it is ready")
    parser.add_argument("--ttft-ms", type=float, default=0.0, help="time to the first token")
    parser.add_argument("--tokens-per-s", type=float, default=0.0, help="0: as fast as it can")
    ignored = parser.add_argument_group("llama-server's flags, accepted and without effect")
    sizes = (("-c", "--ctx-size"), ("-np", "--parallel"), ("-ngl", "--n-gpu-layers"), ("-lv", "--log-verbosity"))
    for flags in (("-m", "--model"), *sizes):
        ignored.add_argument(*flags)
    for flag in ("--metrics", "--simulated"):
        ignored.add_argument(flag, action="store_true")
    return parser


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM, or SIGINT, which Nomad's raw_exec sends; then finish what is in flight and end."""
    engine = Engine(options)
    server = await asyncio.start_server(engine.handle, options.host, options.port, limit=1024 * 1024, backlog=1024)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, engine.draining.set)
    loading = asyncio.ensure_future(engine.load())
    await engine.draining.wait()
    loading.cancel()
    server.close()
    while engine.in_flight:
        await asyncio.sleep(0.02)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stand-in; gives the exit code."""
    asyncio.run(serve(_parser().parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
