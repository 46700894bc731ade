"""Stores that cannot be read: the rest goes on, and a metric says which one, and for how long."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.errors import RetryableError
from aivailable.gateway.feeder import Feeder
from aivailable.settings import Settings
from tests.gateway.front import front
from tests.processes import eventually, stand_ins
from tests.samples import fleet, model

CHAT = "/v1/chat/completions"


class Gone(EmbeddedSecrets):
    """A secret store that does not answer for a while."""

    gone = True

    def list(self, prefix: str) -> tuple[str, ...]:
        if self.gone:
            raise RetryableError("the store does not answer")
        return super().list(prefix)


def stale(gate_port: int) -> Mapping[str, float]:
    text = httpx.get(f"http://127.0.0.1:{gate_port}/metrics/feeder", trust_env=False).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def test_what_can_be_read_is_published_although_keys_cannot(tmp_path: Path) -> None:
    secrets, at_s = Gone(tmp_path), [1000.0]
    (tmp_path / "gateway").mkdir()
    feeder = Feeder(EmbeddedRegistry(tmp_path), secrets, tmp_path / "gateway", Settings(), now=lambda: at_s[0])

    at_s[0] = 1030.0
    with pytest.raises(RetryableError):
        feeder.publish_once()
    assert (tmp_path / "gateway" / "clusters.json").is_file()
    assert not (tmp_path / "gateway" / "keys.json").exists()
    assert feeder.stale_s() == {"registry": 0, "secrets": 30, "files": 0, "certificates": 0}

    secrets.gone = False
    feeder.publish_once()
    assert (tmp_path / "gateway" / "keys.json").is_file()
    assert feeder.stale_s()["secrets"] == 0


@pytest.mark.envoy
def test_the_probe_port_tells_how_old_everything_is(tmp_path: Path) -> None:
    with stand_ins(1) as engines, front(tmp_path) as gate:
        gate.set_key("all", "sk-all")
        gate.set_fleet(fleet(model("m-a")))
        gate.set_instances({"m-a": [engines[0].port]})
        with gate.client() as client:
            eventually(lambda: client.post(CHAT, json={"model": "m-a"}).status_code == 200)
        found = stale(gate.envoy.probe_port)

    assert set(found) == {"registry", "secrets", "files", "certificates"}
    assert max(found.values()) < 5
