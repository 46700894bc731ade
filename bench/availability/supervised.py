"""A part in a process of its own, started again whenever it ends, after the delay that its Nomad job has."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

STOP_S = 20.0


class Supervised:
    """Runs one command for as long as the context lasts; its output goes to the end of `log`."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], log: Path, delay_s: float) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._delay_s = delay_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=command[-1], daemon=True)
        self.starts = 0

    def __enter__(self) -> Self:
        """Start it."""
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it in order; what does not end in time is killed."""
        with self._lock:
            self._stop.set()
        process = self._process
        if process is not None:
            for number in (signal.SIGCONT, signal.SIGTERM):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
        self._thread.join(STOP_S)

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def _start(self) -> None:
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the benchmark first, which then stops things in order.
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def _run(self) -> None:
        while self._process is not None:
            self._process.wait()
            if self._stop.wait(self._delay_s):
                return
            with self._lock:
                if self._stop.is_set():
                    return
                self._start()
