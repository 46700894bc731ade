"""Processes for tests: stand-in engines on free ports, always ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx

ROOT = Path(__file__).parents[1]
T = TypeVar("T")


def eventually(check: Callable[[], T], *, timeout_s: float = 10.0) -> T:
    """The first true value of `check`; fails with the last value when the deadline passes."""
    deadline = time.monotonic() + timeout_s
    while not (value := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout_s} s: {value!r}")
        time.sleep(0.02)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


class StandIn:
    """One `bench.engine` process."""

    def __init__(self, *flags: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "bench.engine", "--port", str(self.port), *flags]
        self.process = subprocess.Popen(command, cwd=ROOT)

    def freeze(self) -> None:
        """Stop it without ending it: connections are taken, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def restart(self) -> None:
        """Start it once more, on the same port."""
        self.process = subprocess.Popen(self.process.args, cwd=ROOT)
        eventually(lambda: answers(f"http://127.0.0.1:{self.port}/v1/models"))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def served(self) -> int:
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text
        return int(text.rpartition("requests_served ")[2])


@contextmanager
def stand_ins(count: int, *flags: str) -> Iterator[list[StandIn]]:
    engines = [StandIn(*flags) for _ in range(count)]
    try:
        for engine in engines:
            eventually(lambda port=engine.port: answers(f"http://127.0.0.1:{port}/v1/models"))  # type: ignore[misc] # a default binds the loop's value
        yield engines
    finally:
        for engine in engines:
            engine.kill()


def running(marker: str) -> list[int]:
    """Pids of living processes whose command line or working directory names `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            seen = (entry / "cmdline").read_bytes().decode(errors="replace") + str((entry / "cwd").readlink())
        except OSError:
            continue
        if marker in seen:
            found.append(int(entry.name))
    return found
