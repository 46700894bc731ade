"""Starts and ends the agents of a rack: what a test may break and mend."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from aivailable.settings import shipped
from tests.processes import free_port

READY_S = 60.0
STOP_S = 20.0
SERVER = "server"
NODES = ("node1", "node2", "node3")
SOCKET_DIR = "sockets"
QUICK = {"heartbeat_grace": "1s", "min_heartbeat_ttl": "2s"}


def why_not() -> str:
    """What is missing for a real rack; empty when nothing is."""
    for program in ("nomad", "consul", "ip"):
        if shutil.which(program) is None:
            return f"no `{program}` on PATH"
    return "" if os.geteuid() == 0 else "network namespaces need root"


@dataclass
class Rack:
    """The agents of one rack. Names of nodes are those of the demo's inventory."""

    folder: Path
    number: int
    models_mib: int = 0
    """Size of the disk for model files; 0: as much as this machine has."""
    heartbeats: Mapping[str, Any] = field(default_factory=lambda: QUICK)
    """What Nomad's server is told of its clients' heartbeats; nothing: its own defaults, 10 s and 10 s of grace."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def bridge(self) -> str:
        return f"aiv{self.number}"

    @property
    def nomad(self) -> str:
        return f"http://{self.address(SERVER)}:4646"

    @property
    def consul(self) -> str:
        return f"http://{self.address(SERVER)}:8500"

    @property
    def outside(self) -> str:
        """The address under which nodes reach what runs beside the rack."""
        return f"10.213.{self.number}.1"

    def namespace(self, node: str) -> str:
        return f"aiv{self.number}-{node}"

    def link(self, node: str) -> str:
        return f"aiv{self.number}{node[0]}{node[-1]}"

    def address(self, node: str) -> str:
        return f"10.213.{self.number}.{2 + (SERVER, *NODES).index(node)}"

    def inventory(self) -> Path:
        return self.folder / "inventory.toml"

    def environment(self) -> dict[str, str]:
        """What a person's shell has to speak to this rack."""
        this = shlex.quote(sys.executable)
        return {
            "NOMAD_ADDR": self.nomad,
            "CONSUL_HTTP_ADDR": self.consul,
            "AIVAILABLE_NODE_COMMAND": f"{this} -m aivailable",
            "AIVAILABLE_LLAMACPP_COMMAND": f"{this} -m aivailable.engines.llamacpp",
            "AIVAILABLE_MODELS": str(self.folder / "models"),
        }

    def build(self) -> None:
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{self.outside}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for node in (SERVER, *NODES):
            space, inside = self.namespace(node), self.link(node)
            _ip("netns", "add", space)
            _ip("link", "add", inside, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", inside, "master", self.bridge, "up")
            _ip("-n", space, "addr", "add", f"{self.address(node)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "route", "add", "default", "via", self.outside)
        shutil.copy(shipped("examples") / "demo-inventory.toml", self.inventory())
        models = self.folder / "models"
        models.mkdir()
        if self.models_mib:
            size = f"size={self.models_mib}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(models)], check=True)
        plugins = self.folder / "plugins"
        plugins.mkdir()
        wrapper = plugins / "aivailable-gpu"
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m aivailable.devices "$@"\n')
        wrapper.chmod(0o755)

    def start(self, *, acl: bool = False) -> None:
        """All agents, in the order in which they need each other; returns when every node shows its cards."""
        self.start_consul(SERVER)
        _until(lambda: bool(_json(f"{self.consul}/v1/status/leader")), "Consul has no leader")
        self.start_nomad(SERVER, acl=acl)
        _until(lambda: bool(_json(f"{self.nomad}/v1/status/leader")), "Nomad has no leader")
        for node in NODES:
            self.start_consul(node)
            self.start_nomad(node, acl=acl)
        if not acl:
            self.wait_for_nodes(*NODES)

    def wait_for_nodes(self, *names: str) -> None:
        """Until these nodes are ready with their cards."""

        def ready() -> bool:
            nodes = _json(f"{self.nomad}/v1/nodes?resources=true") or []
            shown = {n["Name"] for n in nodes if n["Status"] == "ready" and n["NodeResources"].get("Devices")}
            return set(names) <= shown

        _until(ready, f"not ready with cards: {names}")

    def start_consul(self, node: str) -> None:
        data = self.folder / node / "consul"
        data.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "data_dir": str(data),
            "node_name": node,
            "bind_addr": self.address(node),
            "client_addr": "0.0.0.0",
            "server": node == SERVER,
            "connect": {"enabled": True},
            "ports": {"grpc": 8502},
            "performance": {"raft_multiplier": 1},
            "leave_on_terminate": False,
            "disable_update_check": True,
            "raft_protocol": 3,
        }
        config |= {"bootstrap_expect": 1} if node == SERVER else {"retry_join": [self.address(SERVER)]}
        file = self.folder / node / "consul.json"
        file.write_text(json.dumps(config))
        self.run(node, f"consul-{node}", "consul", "agent", "-config-file", str(file))

    def start_nomad(self, node: str, *, acl: bool = False) -> None:
        data = self.folder / node / "nomad"
        data.mkdir(parents=True, exist_ok=True)
        address = self.address(node)
        config: dict[str, Any] = {
            "name": node,
            "data_dir": str(data),
            "bind_addr": address,
            "addresses": {"http": "0.0.0.0"},
            "advertise": {"http": address, "rpc": address, "serf": address},
            "plugin_dir": str(self.folder / "plugins"),
            "disable_update_check": True,
            "leave_on_interrupt": False,
            "leave_on_terminate": False,
            "consul": {"address": f"{address}:8500"},
            "acl": {"enabled": acl},
        }
        if node == SERVER:
            config["server"] = {"enabled": True, "bootstrap_expect": 1, "raft_multiplier": 1, **self.heartbeats}
        else:
            config["client"] = {
                "enabled": True,
                "servers": [self.address(SERVER)],
                "network_interface": "eth0",
                "max_kill_timeout": "10m",
                "cni_path": "/usr/lib/cni",
                "options": {"fingerprint.denylist": "env_aws,env_gce,env_azure,env_digitalocean"},
                "meta": {"aivailable_consul": f"http://{address}:8500", "rack": "rack1"},
                "alloc_dir": str(data / "alloc"),
                "state_dir": str(data / "client"),
            }
            config["plugin"] = [
                {"raw_exec": [{"config": [{"enabled": True}]}]},
                {
                    "aivailable-gpu": [
                        {
                            "config": [
                                {
                                    "inventories": ["simulated"],
                                    "simulated": str(self.inventory()),
                                    "node": node,
                                    "state": str(self.folder / node / "gpu"),
                                }
                            ]
                        }
                    ]
                },
            ]
        file = self.folder / node / "nomad.json"
        file.write_text(json.dumps(config))
        self.run(node, f"nomad-{node}", "nomad", "agent", "-config", str(file))

    def run(self, node: str, name: str, *command: str, env: Mapping[str, str] | None = None) -> None:
        """Start a program in a node's namespace; its output goes to a file named after it."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NOMAD_", "CONSUL_", "AWS_"))}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace(node), *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**environment, **(env or {})},
            )

    def kill(self, name: str) -> None:
        """Kill -9 one agent; what it started lives on."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_S)

    def kill_node(self, node: str) -> None:
        """Pull the power cord: agents and tasks of a node die at once."""
        deadline = time.monotonic() + STOP_S
        while (pids := self.pids(node)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for name in [name for name in self.processes if name.endswith(f"-{node}")]:
            self.processes.pop(name).wait(STOP_S)

    def freeze(self, node: str) -> None:
        """All processes of a node stand still, as if its machine hung: its kernel goes on answering."""
        for pid in self.pids(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self, node: str) -> None:
        """They go on."""
        for pid in self.pids(node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def pids(self, node: str) -> list[int]:
        """The processes of a node: those in its namespace, and tasks with a network of their own."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.namespace(node)], capture_output=True, text=True, check=False
        )
        inside = {int(pid) for pid in found.stdout.split()}
        return sorted(inside | _started_below(self.folder / node))

    def end(self) -> None:
        """Nothing is left: processes, mounts, namespaces, bridge."""
        for node in (*NODES, SERVER):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.kill_node(node)
            for allocation in (self.folder / node / "nomad" / "alloc").glob("*-*"):
                # The network namespaces of bridge mode are Nomad's, named after allocations; killed, it leaves them.
                subprocess.run(["ip", "netns", "del", allocation.name], check=False, capture_output=True)
            for mount in _mounts(self.folder / node):
                subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
            subprocess.run(["ip", "link", "del", self.link(node)], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", self.namespace(node)], check=False, capture_output=True)
        subprocess.run(["umount", "-l", str(self.folder / "models")], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)


@contextlib.contextmanager
def rack(*, acl: bool = False, models_mib: int = 0, heartbeats: Mapping[str, Any] = QUICK) -> Iterator[Rack]:
    """A running rack, ended whatever happens.

    In a folder with a short name: the task API's socket lies deep below it, and a socket's path has 107 bytes at most.
    """
    with tempfile.TemporaryDirectory(prefix="aiv", ignore_cleanup_errors=True) as folder:
        built = Rack(folder=Path(folder), number=free_number(), models_mib=models_mib, heartbeats=heartbeats)
        try:
            built.build()
            built.start(acl=acl)
            yield built
        finally:
            built.end()


@contextlib.contextmanager
def consul_agent(folder: Path, *, dns_port: int = -1) -> Iterator[str]:
    """A lone Consul server on loopback, with ports of its own; gives its address. DNS only with a port for it."""
    ports = {name: free_port() for name in ("http", "serf_lan", "serf_wan", "server")}
    config = {
        "data_dir": str(folder / "data"),
        "bind_addr": "127.0.0.1",
        "server": True,
        "bootstrap_expect": 1,
        "ports": {**ports, "dns": dns_port, "grpc": -1},
        "connect": {"enabled": True},
        "performance": {"raft_multiplier": 1},
        "disable_update_check": True,
    }
    (folder / "consul.json").write_text(json.dumps(config))
    address = f"http://127.0.0.1:{ports['http']}"
    with (folder / "consul.log").open("wb") as log:
        process = subprocess.Popen(
            ["consul", "agent", "-config-file", str(folder / "consul.json")], stdout=log, stderr=log
        )
    try:
        _until(lambda: bool(_json(f"{address}/v1/status/leader")), "Consul has no leader")
        yield address
    finally:
        process.kill()
        process.wait(STOP_S)


def free_number() -> int:
    taken = {path.name for path in Path("/sys/class/net").iterdir()}
    return next(number for number in range(1, 250) if f"aiv{number}" not in taken)


def _started_below(folder: Path) -> set[int]:
    """The processes whose environment names an allocation in this folder."""
    mark = f"={folder}/nomad/alloc/".encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def _mounts(below: Path) -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return sorted((line.split()[1] for line in lines if line.split()[1].startswith(str(below))), reverse=True)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _json(url: str) -> Any:
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return None
    return answer.json() if answer.status_code == 200 else None


def _until(check: Any, failure: str) -> None:
    deadline = time.monotonic() + READY_S
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(failure)
        time.sleep(0.1)
