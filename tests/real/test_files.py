"""Model files on the nodes of a real cluster: brought once, with the token of a Nomad variable; failures in words."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.clients.fakehub import Hub, fake_hub
from tests.processes import eventually
from tests.real.life import STAND_IN, Life
from tests.real.rack import rack, why_not
from tests.weights import smollm2

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

REPO = "org/small"
FILE = "small.gguf"
MIB = 1024 * 1024
DISK_MIB = 400
ONE_CARD = """
[[model]]
name = "{name}"
replicas = {replicas}
context = 512
concurrency = 1
where = {{ card = "Tesla T4" }}
[[model.variant]]
source = "hf:{repo}:{file}"
"""


@dataclass(frozen=True)
class Here:
    life: Life
    hub: Hub
    models: Path


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with rack(models_mib=DISK_MIB) as running, fake_hub(running.outside) as hub:
        weights = smollm2().read_bytes()
        hub.files[REPO] = {FILE: weights, "gone.gguf": weights + b"1", "large.gguf": weights + b"2"}
        models = running.folder / "models"
        environment = {
            "AIVAILABLE_LLAMACPP_COMMAND": STAND_IN,
            "AIVAILABLE_HUB_ENDPOINT": hub.url,
            "AIVAILABLE_STATE": str(running.folder / "state"),
            "AIVAILABLE_DEPLOY_TIMEOUT_S": "120",
        }
        life = Life(running, environment)
        life.ok("up")
        yield Here(life, hub, models)


def fleet(folder: Path, name: str, file: str, replicas: int = 1) -> str:
    path = folder / f"{name}.toml"
    path.write_text(ONE_CARD.format(name=name, replicas=replicas, repo=REPO, file=file))
    return str(path)


def whole_reads(hub: Hub, file: str) -> int:
    return sum(path.endswith(f"/{file}") and span == "" for path, span in hub.data_requests())


def test_two_replicas_on_a_node_bring_a_file_once_with_the_token_of_the_variable(here: Here, tmp_path: Path) -> None:
    variable = {"Path": "aivailable/hub", "Items": {"token": "hf_secret"}}
    httpx.put(f"{here.life.rack.nomad}/v1/var/aivailable/hub", json=variable, trust_env=False).raise_for_status()

    here.life.ok("deploy", fleet(tmp_path, "m", FILE, replicas=2))

    serving = here.life.wait_until_serving(2)
    assert len({replica.node for replica in serving}) == 1
    assert whole_reads(here.hub, FILE) == 1
    assert "hf_secret" in here.hub.tokens
    (found,) = [path for path in here.models.rglob(FILE) if ".headers" not in path.parts]
    assert found.read_bytes() == here.hub.files[REPO][FILE]
    job = here.life.get(f"/job/{serving[0].job}")
    assert "hf_secret" not in str(job)


def test_a_file_that_is_there_is_used_without_the_hub(here: Here, tmp_path: Path) -> None:
    here.life.ok("stop", "m", "--yes")
    eventually(lambda: here.life.replicas() == [], timeout_s=40)
    before = len(here.hub.data_requests())

    here.life.ok("deploy", fleet(tmp_path, "m", FILE))

    assert whole_reads(here.hub, FILE) == 1
    assert [entry for entry in here.hub.data_requests()[before:] if entry[1] == ""] == []


def test_a_repository_that_is_closed_meanwhile_is_told_in_words(here: Here, tmp_path: Path) -> None:
    """The source is pinned in the fleet, so that only the node asks the hub, and is refused."""
    for folder in here.models.iterdir():
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    here.hub.gated.add(REPO)
    changed = Path(fleet(tmp_path, "m", FILE))
    changed.write_text(changed.read_text().replace("context = 512", "context = 1024"))

    done = here.life.run("deploy", str(changed), "--yes")

    here.hub.gated.clear()
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{REPO} is gated" in done.stderr
    here.life.ok("stop", "m", "--yes")


def test_a_full_disk_is_told_in_words(here: Here, tmp_path: Path) -> None:
    left = shutil.disk_usage(here.models).free - 20 * MIB
    (here.models / "filler").write_bytes(bytes(left))

    done = here.life.run("deploy", fleet(tmp_path, "large", "large.gguf"), "--yes")

    (here.models / "filler").unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
