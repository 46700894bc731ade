"""A rack that stays up until Ctrl-C, for trying things by hand: `python -m tests.real.shell`."""

import shlex
import signal
import threading

from tests.real.rack import rack, why_not


def main() -> None:
    """Start it and print the variables that a shell needs."""
    if missing := why_not():
        raise SystemExit(missing)
    with rack() as running:
        for name, value in running.environment().items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()


if __name__ == "__main__":
    main()
