"""Streams: the time to the first byte, and how late each event comes, with hundreds of them at once."""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.processes import free_port, running

EVENTS = 10
INTERVAL_S = 0.2
START_S = 0.5
"""Streams begin within this time, as clients do: not all in one millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What streams saw, in milliseconds. An event is as late as it comes after it was sent."""

    first_byte_p50_ms: float
    first_byte_p99_ms: float
    event_p50_ms: float
    event_p99_ms: float
    events: int


@contextmanager
def source(folder: Path) -> Iterator[int]:
    """A server that streams events with the time they were sent in; gives its port."""
    port = free_port()
    with running([sys.executable, "-m", "bench.gateway.streams", str(port)], port, folder / "source.log"):
        yield port


def listen(port: int, count: int, sent: Mapping[str, str]) -> Streams:
    """`count` streams at once.

    Raises:
        RuntimeError: A stream was cut or refused.
    """
    command = [sys.executable, "-m", "bench.gateway.streams", str(port), "--listen", str(count)]
    done = subprocess.run(
        [*command, "--headers", json.dumps(dict(sent))], capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(done.stdout)
    if len(found["events"]) != count * EVENTS:
        raise RuntimeError(f"{len(found['events'])} of {count * EVENTS} events came")
    return summary(found["first"], found["events"])


def summary(first_ms: list[float], events_ms: list[float]) -> Streams:
    """Medians and 99th percentiles."""
    return Streams(
        first_byte_p50_ms=statistics.median(first_ms),
        first_byte_p99_ms=statistics.quantiles(first_ms, n=100)[98],
        event_p50_ms=statistics.median(events_ms),
        event_p99_ms=statistics.quantiles(events_ms, n=100)[98],
        events=len(events_ms),
    )


async def _serve(port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b":0")
                await reader.readexactly(int(length.split(b":")[1]))
                if b" /v1/chat/completions http" not in head:
                    models = b'{"object":"list","data":[{"id":"m-a","object":"model"}]}'
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                    writer.write(f"content-length: {len(models)}\r\n\r\n".encode() + models)
                    continue
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
                writer.write(b"transfer-encoding: chunked\r\n\r\n")
                for number in range(EVENTS):
                    await asyncio.sleep(INTERVAL_S if number else 0)
                    text = _event(number).encode()
                    writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def _event(number: int) -> str:
    choice = {"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": None}
    document = {"id": "c", "object": "chat.completion.chunk", "sent": time.perf_counter(), "choices": [choice]}
    return f"data: {json.dumps(document)}\n\n"


async def _listen(port: int, count: int, headers: Mapping[str, str]) -> dict[str, list[float]]:
    first: list[float] = []
    events: list[float] = []

    async def one(number: int) -> None:
        await asyncio.sleep(START_S * number / count)
        async for begun, came, sent in _stream(port, headers):
            if begun:
                first.append(1000 * (came - sent))
            else:
                events.append(1000 * (came - sent))

    await asyncio.gather(*(one(number) for number in range(count)))
    return {"first": first, "events": events}


async def _stream(port: int, headers: Mapping[str, str]) -> AsyncIterator[tuple[bool, float, float]]:
    """First (True, when the head came, when it was asked), then (False, when an event came, when it was sent)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": "m-a", "stream": True, "messages": [{"role": "user", "content": "hi"}]}).encode()
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = ["POST /v1/chat/completions HTTP/1.1", "host: x", *lines, f"content-length: {len(body)}", "", ""]
    asked = time.perf_counter()
    writer.write("\r\n".join(head).encode() + body)
    status = await reader.readuntil(b"\r\n\r\n")
    yield True, time.perf_counter(), asked
    if b" 200 " in status.split(b"\r\n")[0]:
        while b"[DONE]" not in (line := await reader.readline()) and line:
            if line.startswith(b"data: {"):
                yield False, time.perf_counter(), json.loads(line[6:])["sent"]
    writer.close()


def _main() -> None:
    port, *rest = sys.argv[1:]
    if not rest:
        asyncio.run(_serve(int(port)))
        return
    _, count, _, headers = rest
    print(json.dumps(asyncio.run(_listen(int(port), int(count), json.loads(headers)))))


if __name__ == "__main__":
    _main()
