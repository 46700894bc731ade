"""A real Prometheus on a configuration, and what is asked of it."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.monitoring.queries import MONITORING
from tests.processes import answers, eventually, free_port


@dataclass(frozen=True)
class Prometheus:
    url: str

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10, trust_env=False).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=text)["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Those that fire, or would if it goes on."""
        found: list[dict[str, Any]] = self.get("alerts")["alerts"]
        return found


@contextmanager
def prometheus(folder: Path, configuration: Mapping[str, Any], *, every: str = "1s") -> Iterator[Prometheus]:
    """It runs, and looks at everything `every` so often; afterwards it is ended."""
    quick = {"scrape_interval": every, "evaluation_interval": every}
    (folder / "prometheus.yml").write_text(yaml.safe_dump({**configuration, "global": quick}))
    shutil.copy(MONITORING / "alerts.yml", folder)
    port = free_port()
    words = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*words, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"

        def ready() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            return answers(f"{url}/-/ready")

        eventually(ready, timeout_s=30)
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(20)
