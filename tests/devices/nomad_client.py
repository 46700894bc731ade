"""Speaks the plugin protocol as Nomad's client does: starts the process, reads the handshake, calls over its socket."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgpack

from aivailable.devices import wire
from aivailable.devices.launch import COOKIE, COOKIE_NAME

COMMAND = (sys.executable, "-m", "aivailable.devices")
BASE = "/hashicorp.nomad.plugins.base.proto.BasePlugin"
DEVICE = "/hashicorp.nomad.plugins.device.DevicePlugin"
CALL_S = 30.0


class PluginProcess:
    """One running plugin with a channel to it. `ready_s` is from its start to its handshake."""

    def __init__(self, folder: Path) -> None:
        self.log: list[str] = []
        started = time.monotonic()
        self.process = subprocess.Popen(
            COMMAND,
            env={**os.environ, COOKIE_NAME: COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.handshake = self.process.stdout.readline().strip()
        self.ready_s = time.monotonic() - started
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.socket = Path(self.handshake.split("|")[3]) if self.handshake.count("|") == 4 else Path()
        self.channel = grpc.insecure_channel(f"unix:{self.socket}", options=[("grpc.max_receive_message_length", -1)])

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)

    def call(self, method: str, request: bytes = b"", answer: Any = None) -> Any:
        read = answer.FromString if answer else bytes
        return self.channel.unary_unary(method, response_deserializer=read)(request, timeout=CALL_S)

    def stream(self, method: str, request: bytes = b"", answer: Any = None) -> Any:
        return self.channel.unary_stream(method, response_deserializer=answer.FromString)(request, timeout=CALL_S)

    def set_config(self, **config: object) -> None:
        request = wire.SetConfigRequest(msgpack_config=msgpack.packb(config), plugin_api_version="v0.1.0")
        self.call(f"{BASE}/SetConfig", request.SerializeToString())

    def fingerprint(self) -> Any:
        return self.stream(f"{DEVICE}/Fingerprint", answer=wire.FingerprintResponse)

    def reserve(self, *ids: str) -> Any:
        request = wire.ReserveRequest(device_ids=ids).SerializeToString()
        return self.call(f"{DEVICE}/Reserve", request, wire.ReserveResponse).container_res

    def stats(self, interval_s: int = 1) -> Any:
        request = wire.StatsRequest()
        request.collection_interval.FromSeconds(interval_s)
        return self.stream(f"{DEVICE}/Stats", request.SerializeToString(), wire.StatsResponse)

    def end(self) -> None:
        self.channel.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)
        self._reader.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def plugin_process(folder: Path) -> Iterator[PluginProcess]:
    plugin = PluginProcess(folder)
    try:
        yield plugin
    finally:
        plugin.end()
