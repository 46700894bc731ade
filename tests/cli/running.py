"""A real `aivailable demo` in a process of its own, and the command line beside it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.processes import ROOT, eventually, running

PROGRAM = [sys.executable, "-c", "from aivailable.cli.main import main; main()"]
MODEL = "smollm2-135m-instruct"
CHAT = "/chat/completions"


class Demo:
    def __init__(self, state: Path, environment: Mapping[str, str], *flags: str) -> None:
        self.state = state
        self.environment = {
            **os.environ,
            "AIVAILABLE_STATE": str(state),
            "AIVAILABLE_GATEWAY_PORT": "0",
            "AIVAILABLE_PROBE_PORT": "0",
            "AIVAILABLE_CONTROLLER_PORT": "0",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.log = state / "demo.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*PROGRAM, "demo", *flags], env=self.environment, stdout=log, stderr=log, cwd=ROOT
            )

    def run(self, *arguments: str, stdin: str = "", timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd=ROOT,
        )

    def ok(self, *arguments: str, stdin: str = "", timeout_s: float = 60) -> str:
        done = self.run(*arguments, stdin=stdin, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("status", "--json"))
        return found

    def serving(self) -> list[dict[str, Any]]:
        return [r for r in self.status()["replicas"] if r["state"] == "serving"]

    def wait_until_up(self) -> None:
        def up() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "It stays up" in self.log.read_text() and "curl" in self.log.read_text()

        eventually(up, timeout_s=50)

    def line(self, name: str) -> str:
        lines = [line.split(name, 1)[1].strip() for line in self.log.read_text().splitlines() if name in line]
        return lines[0]

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.line('key ')}"}
        return httpx.Client(base_url=self.line("base URL "), headers=headers, timeout=30, trust_env=False)

    def engine_pid(self, alloc: str) -> int:
        """The process of an allocation: the one that works in its directory."""
        (pid,) = running(f"{self.state}/allocs/{alloc}/")
        return pid


@contextmanager
def demo(state: Path, environment: Mapping[str, str] | None = None, *flags: str) -> Iterator[Demo]:
    """A demo that is up; afterwards it is told to stop, and nothing may be left running."""
    started = Demo(state, environment or {}, *flags)
    try:
        started.wait_until_up()
        yield started
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(40) == 0, started.log.read_text()
        assert running(str(state)) == []
    finally:
        if started.process.poll() is None:  # a failed test: let it stop what it started, or that stays behind
            started.process.terminate()
            try:
                started.process.wait(40)
            finally:
                started.process.kill()
                started.process.wait(10)
