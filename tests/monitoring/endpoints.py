"""Where a demo's metrics are, and the names in what is read there."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.model.service import ENGINE_SERVICE
from tests.cli.running import Demo

VLLM = Path(__file__).parent / "vllm-0.32.0.txt"
KINDS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


@dataclass(frozen=True)
class Endpoints:
    """Where a demo's metrics are, by `host:port`."""

    controller: str
    http: str
    probes: str
    engines: tuple[str, ...]

    @classmethod
    def of(cls, up: Demo) -> Self:
        bootstrap = json.loads((up.state / "gateway" / "bootstrap.json").read_text())
        ports = {
            listener["name"]: listener["address"]["socket_address"]["port_value"]
            for listener in bootstrap["static_resources"]["listeners"]
        }
        engines = EmbeddedRegistry(up.state).instances(ENGINE_SERVICE)
        return cls(
            controller=up.line("page ").removeprefix("http://").partition("/")[0],
            http=f"127.0.0.1:{ports['http']}",
            probes=f"127.0.0.1:{ports['probes']}",
            engines=tuple(f"{engine.address}:{engine.port}" for engine in engines),
        )

    def texts(self) -> Mapping[str, str]:
        """What each answers."""
        paths = {
            "controller": f"{self.controller}/metrics",
            "gateway": f"{self.probes}/metrics",
            "feeder": f"{self.probes}/metrics/feeder",
            "engine": f"{self.probes}/engines/{self.engines[0]}/metrics",
        }
        found = {}
        for name, path in paths.items():
            answer = httpx.get(f"http://{path}", timeout=10, trust_env=False).raise_for_status()
            # Prometheus 3 refuses what does not say what it is.
            assert answer.headers["content-type"].startswith("text/plain"), name
            found[name] = answer.text
        return found


def names(text: str) -> set[str]:
    """The names that a text in Prometheus' form has samples of, or will have."""
    found = {re.split(r"[{ ]", line, maxsplit=1)[0] for line in text.splitlines() if line and not line.startswith("#")}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        found |= {name, *(f"{name}{end}" for end in KINDS["histogram"] if kind == "histogram")}
    return found


def names_of_vllm() -> set[str]:
    lines = [line.split() for line in VLLM.read_text().splitlines() if not line.startswith("#")]
    return {f"{name}{end}" for name, kind in lines for end in KINDS.get(kind, ("",))}
