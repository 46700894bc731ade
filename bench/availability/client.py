"""The load: sends each request when it is due, whatever became of those before it, and judges every answer.

A client knows both gateways. It asks one, in turns; refused, cut before the first byte of an answer, answered with a
status that OpenAI's clients retry, or left in silence, it asks the other one, once. Raw HTTP/1.1 over asyncio: load of
50 requests/s must leave the machine to what is measured.
"""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bench.availability.arrivals import Arrival
from bench.availability.records import Record, Result, Try

PATIENCE_S = 30.0
"""From arrival: an answer that comes later is none."""
TRIES = 2
SILENCE_S = 14.0
"""Longest silence of one try. The gateway asks another engine by itself after the model's `idle_timeout` of 10 s; that
one may take 3.1 s for a whole answer that is not streamed."""
STATUS_PAUSE_S = 0.5
"""Before the other gateway is asked after an answer like 503: OpenAI's clients wait as long before their first retry.
After a refused or cut connection the other one is asked at once."""
RETRIED = frozenset({408, 409, 429})
"""Besides 5xx, what OpenAI's clients retry."""
LINE_BYTES_MAX = 1024 * 1024


class BrokenError(Exception):
    """A try that brought no right answer: why."""


@dataclass(slots=True)
class Load:
    """Sends requests to the gateways that there are at the moment; `clock_s` gives seconds since the load's start."""

    gateways: Callable[[], Sequence[str]]
    key: str
    clock_s: Callable[[], float]
    records: list[Record] = field(default_factory=list)
    idle: dict[str, deque["Connection"]] = field(default_factory=dict)

    async def run(self, arrivals: Iterable[Arrival]) -> None:
        """Send all, each at its time; returns when the last has its answer, or none."""
        running: set[asyncio.Task[None]] = set()
        try:
            for arrival in arrivals:
                await asyncio.sleep(arrival.at_s - self.clock_s())
                record = Record(arrival=arrival, id=f"bench-{arrival.number}")
                self.records.append(record)
                running.add(task := asyncio.create_task(self._request(record)))
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)
        finally:
            for task in list(running):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for pool in self.idle.values():
                for connection in pool:
                    connection.close()

    async def _request(self, record: Record) -> None:
        """One request with its retry. Whatever happens is an outcome, not an error."""
        for number in range(TRIES):
            known = self.gateways()
            gateway = known[(record.arrival.number + number) % len(known)]
            tried = Try(gateway=gateway, begun_s=self.clock_s())
            record.tries.append(tried)
            left_s = record.arrival.at_s + PATIENCE_S - self.clock_s()
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    await self._try(record, tried)
            except (BrokenError, OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
                tried.why = _why(error, late=self.clock_s() >= record.arrival.at_s + PATIENCE_S)
            record.ended_s = tried.ended_s = self.clock_s()
            if not tried.why:
                record.result = Result.OK
                return
            if not _retried(tried):
                break
            if tried.status:
                await asyncio.sleep(STATUS_PAUSE_S)
        record.why = tried.why
        if record.arrival.streamed and tried.status == 200 and not tried.why.startswith("wrong"):
            record.result = Result.CUT

    async def _try(self, record: Record, tried: Try) -> None:
        pool = self.idle.setdefault(tried.gateway, deque())
        connection = _take(pool) or await Connection.open(tried.gateway)
        try:
            connection.send(self._message(record))
            status, headers = await connection.head(tried)
            tried.status = status
            record.first_byte_s = record.first_byte_s or self.clock_s()
            await (self._judge_stream if record.arrival.streamed and status == 200 else self._judge)(
                connection, record, status, headers
            )
        except BaseException:
            connection.close()
            raise
        if headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            pool.append(connection)

    def _message(self, record: Record) -> bytes:
        asked = record.arrival
        body = {
            "model": asked.model,
            "max_tokens": asked.words,
            "stream": asked.streamed,
            "messages": [{"role": "user", "content": "x" * asked.prompt_bytes}],
        }
        data = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\nx-request-id: {record.id}\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    async def _judge(self, connection: "Connection", record: Record, status: int, headers: dict[str, str]) -> None:
        body = await connection.body(headers)
        if status != 200:
            raise BrokenError(f"status {status}: {_message(body)}")
        answer = json.loads(body)
        if answer["model"] != record.arrival.model or answer["choices"][0]["message"]["content"] != _text(record):
            raise BrokenError(f"wrong answer: {body[:160].decode(errors='replace')}")

    async def _judge_stream(
        self, connection: "Connection", record: Record, status: int, headers: dict[str, str]
    ) -> None:
        del status
        if headers.get("transfer-encoding", "").lower() != "chunked":
            raise BrokenError("wrong answer: a stream with an end told before")
        events: list[str] = []
        left = b""
        async for piece in connection.chunks():
            *whole, left = (left + piece).split(b"\n\n")
            events += (event.decode().removeprefix("data: ") for event in whole if event)
        if not events or events[-1] != "[DONE]":
            # The end was told properly, but what came is not whole: some part in between hid that it was cut.
            raise BrokenError(f"ended after {len(events)} events without [DONE]")
        said = [json.loads(event) for event in events[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in said if chunk["choices"])
        if text != _text(record) or any(chunk["model"] != record.arrival.model for chunk in said):
            raise BrokenError(f"wrong answer: {text[:160]}")


class Connection:
    """One connection to a gateway; every wait on it ends after `SILENCE_S`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, gateway: str) -> "Connection":
        """Connect to `host:port`."""
        host, _, port = gateway.rpartition(":")
        async with asyncio.timeout(SILENCE_S):
            return cls(*await asyncio.open_connection(host, int(port), limit=LINE_BYTES_MAX))

    @property
    def usable(self) -> bool:
        """Whether the other side has not ended it, as far as one can know."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    def send(self, message: bytes) -> None:
        """Send a request."""
        self._writer.write(message)

    async def head(self, tried: Try) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        try:
            lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError as error:
            tried.bytes_seen = bool(error.partial)
            raise
        tried.bytes_seen = True
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split(" ")[1]), headers

    async def body(self, headers: dict[str, str]) -> bytes:
        """The whole body."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join([piece async for piece in self.chunks()])
        async with asyncio.timeout(SILENCE_S):
            return await self._reader.readexactly(int(headers.get("content-length", "0")))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of a chunked body as they come."""
        while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
            async with asyncio.timeout(SILENCE_S):
                piece = await self._reader.readexactly(size + 2)
            yield piece[:-2]
        await self._until(b"\r\n")

    async def _until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(SILENCE_S):
            return await self._reader.readuntil(mark)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()


def _take(pool: deque[Connection]) -> Connection | None:
    """An idle connection that still stands, the one used last: those that are not needed age and go."""
    while pool:
        if (connection := pool.pop()).usable:
            return connection
        connection.close()
    return None


def _message(body: bytes) -> str:
    """What an error says; as it came where it is not of OpenAI's form."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body[:160].decode(errors="replace").split())


def _text(record: Record) -> str:
    """What a stand-in engine says (bench/engine.py)."""
    return "".join(f"word{number} " for number in range(record.arrival.words))


def _retried(tried: Try) -> bool:
    """Whether the other gateway is asked after this try."""
    if tried.why.startswith("late"):
        return False
    return not tried.bytes_seen or tried.status in RETRIED or tried.status >= 500


def _why(error: Exception, *, late: bool) -> str:
    if late:
        return f"late: no whole answer {PATIENCE_S:g} s after arrival"
    if isinstance(error, BrokenError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"silent for {SILENCE_S:g} s"
    if isinstance(error, asyncio.IncompleteReadError):
        return "cut: connection closed"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, OSError):
        return f"cut: {type(error).__name__}"
    return f"wrong answer: {error!r}"


def stopwatch() -> Callable[[], float]:
    """Seconds from now on."""
    begun = time.monotonic()
    return lambda: time.monotonic() - begun
