"""Clients of a gateway: a steady rate of short requests, and streams that must come to their end."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

RATE = 50
"""Requests a second."""
GIVE_UP_S = 20.0


@dataclass
class Traffic:
    """What clients saw. `failures` are statuses other than 200, and errors by name."""

    asked: int = 0
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0


@contextmanager
def traffic(base_url: str, key: str, model: str, rate: int = RATE) -> Iterator[Traffic]:
    """Ask at this rate for as long as the context lasts; then wait for what was asked."""
    seen, ended = Traffic(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask(base_url, key, model, rate, seen, ended)))
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join(GIVE_UP_S + 10)


async def _ask(base_url: str, key: str, model: str, rate: int, seen: Traffic, ended: threading.Event) -> None:
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=50)

    async def one(client: httpx.AsyncClient) -> None:
        begun = time.monotonic()
        try:
            answer = await client.post("/chat/completions", json=body)
        except httpx.TransportError as error:
            seen.failures.append(type(error).__name__)
        else:
            if answer.status_code == 200:
                seen.answered += 1
            else:
                seen.failures.append(f"{answer.status_code} {answer.text[:200]}")
        seen.longest_s = max(seen.longest_s, time.monotonic() - begun)

    async with httpx.AsyncClient(
        base_url=base_url,
        headers={"authorization": f"Bearer {key}"},
        timeout=GIVE_UP_S,
        limits=limits,
        trust_env=False,
    ) as client:
        tasks = set()
        due = time.monotonic()
        while not ended.is_set():
            tasks.add(task := asyncio.create_task(one(client)))
            task.add_done_callback(tasks.discard)
            seen.asked += 1
            due += 1 / rate
            await asyncio.sleep(max(0, due - time.monotonic()))
        await asyncio.gather(*tasks)


@dataclass
class Listeners:
    """Streams that were begun, and those that came to their end."""

    begun: int = 0
    whole: int = 0
    wrong: list[str] = field(default_factory=list)


@contextmanager
def streams(base_url: str, key: str, model: str, count: int, tokens: int) -> Iterator[Listeners]:
    """`count` streams at once; the context begins when all have, and ends when all have ended."""
    seen = Listeners()

    def listen() -> None:
        body = {"model": model, "max_tokens": tokens, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        try:
            with (
                httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False) as client,
                client.stream("POST", f"{base_url}/chat/completions", json=body) as answer,
            ):
                lines = answer.iter_lines()
                first = next(lines)
                seen.begun += 1
                rest = list(lines)
                if "data: [DONE]" in rest and sum(line.startswith("data: {") for line in (first, *rest)) == tokens + 1:
                    seen.whole += 1
                else:
                    seen.wrong.append(f"{answer.status_code} {first} … {rest[-2:]}")
        except (httpx.TransportError, StopIteration) as error:
            seen.wrong.append(repr(error))

    threads = [threading.Thread(target=listen) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + GIVE_UP_S
        while seen.begun < count and not seen.wrong and time.monotonic() < deadline:
            time.sleep(0.02)
        yield seen
    finally:
        for thread in threads:
            thread.join(90)
