"""How long one waits: a user for `--help` and the demo (to the end of every process), Nomad for the plugin's handshake.

`python -m bench.startup [--json] [--runs N]`
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from aivailable.devices.launch import COOKIE, COOKIE_NAME
from bench.tables import show

PROGRAM = [sys.executable, "-c", "from aivailable.cli.main import main; main()"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench.startup", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args(arguments)
    bare = [_seconds([sys.executable, "-c", "pass"]) for _ in range(options.runs)]
    help_ = [_seconds([*PROGRAM, "--help"]) for _ in range(options.runs)]
    demo = [_demo_seconds() for _ in range(options.runs)]
    plugin = [_plugin_seconds() for _ in range(options.runs)]
    rows = {
        "python -c pass": bare,
        "aivailable --help": help_,
        "aivailable-gpu: handshake": plugin,
        "aivailable demo --once": demo,
    }
    show("What one waits for", rows, "s", as_json=options.json)


def _plugin_seconds() -> float:
    """From the plugin's start to its handshake line, as Nomad starts it."""
    with tempfile.TemporaryDirectory() as sockets:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "aivailable.devices"],
            env={**os.environ, COOKIE_NAME: COOKIE, "PLUGIN_UNIX_SOCKET_DIR": sockets},
            stdout=subprocess.PIPE,
        )
        with process:
            line = process.stdout.readline() if process.stdout else b""
            took = time.perf_counter() - begin
            process.terminate()
    if not line.startswith(b"1|2|unix|"):
        raise RuntimeError(f"no handshake: {line!r}")
    return took


def _demo_seconds() -> float:
    with tempfile.TemporaryDirectory() as state:
        ports = {f"AIVAILABLE_{name}_PORT": "0" for name in ("GATEWAY", "PROBE", "CONTROLLER")}
        return _seconds([*PROGRAM, "demo", "--once"], {**os.environ, **ports, "AIVAILABLE_STATE": state})


def _seconds(command: list[str], environment: dict[str, str] | None = None) -> float:
    begin = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
