"""The plugin's process: handshake, socket, log lines; started by Nomad's client through hashicorp/go-plugin."""

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path
from types import FrameType

import grpc

from aivailable.devices.plugin import Plugin
from aivailable.devices.service import PLUGIN_NAME, Service

CORE_PROTOCOL_VERSION = 1
APP_PROTOCOL_VERSION = 2
"""Of go-plugin's handshake and of Nomad's plugins; both are checked by Nomad."""
THREADS = 10
"""Three streams stay open; the others answer single calls."""
GRACE_S = 0.2

_FOLDER_PREFIX = f"{PLUGIN_NAME}-"


def serve() -> int:
    """Serve until Nomad says Shutdown. Prints the handshake as soon as calls are answered.

    Returns:
        The exit status.
    """
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the agent's terminal is the agent's business

    def on_terminate(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    signal.signal(signal.SIGTERM, on_terminate)
    service = Service(Plugin(log=write_log), stop, log=write_log)
    server = grpc.server(
        futures.ThreadPoolExecutor(THREADS),
        options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)],
    )
    server.add_generic_rpc_handlers(service.handlers())
    parent = Path(os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.gettempdir())
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=parent))
    try:
        socket = folder / "plugin.sock"
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        sys.stdout.write(f"{CORE_PROTOCOL_VERSION}|{APP_PROTOCOL_VERSION}|unix|{socket}|grpc\n")
        sys.stdout.flush()
        stop.wait()
        server.stop(GRACE_S).wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def sweep(parent: Path) -> None:
    """Remove socket folders of plugin processes that were killed."""
    for folder in parent.glob(f"{_FOLDER_PREFIX}*-*"):
        pid = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(folder, ignore_errors=True)


def write_log(level: str, text: str) -> None:
    """One line for Nomad's log, as hclog's JSON."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    line = {"@level": level, "@message": text, "@module": PLUGIN_NAME, "@timestamp": stamp}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()
