"""A model from a hub, on a running demo: pinned at deploy, brought by the job, served; and one that cannot start."""

from collections.abc import Iterator

import pytest

from tests.cli.running import Demo, demo
from tests.clients.fakehub import REVISION, Hub, fake_hub
from tests.weights import smollm2, write_gguf

pytestmark = [pytest.mark.envoy, pytest.mark.engine]

SOURCE = "hf:org/smol:smol.gguf"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with fake_hub() as running:
        broken = write_gguf(tmp_path_factory.mktemp("broken") / "broken.gguf").read_bytes()
        running.files["org/smol"] = {"smol.gguf": smollm2().read_bytes(), "broken.gguf": broken}
        yield running


@pytest.fixture(scope="module")
def up(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("sources"), {"AIVAILABLE_HUB_ENDPOINT": hub.url}) as running:
        yield running


def test_a_hub_model_is_deployed_brought_once_and_served(up: Demo, hub: Hub) -> None:
    done = up.run("deploy", SOURCE, "--name", "smol", "--replicas", "2", "--context", "512", "--concurrency", "1")

    assert done.returncode == 0, done.stderr
    assert "smol #0: fetching" in done.stderr
    assert "smol #0: serving" in done.stderr
    assert up.ok("chat", "smol", "hi", "--max-tokens", "2").strip()
    assert REVISION in up.ok("fleet", "--resolved")
    whole = [span for path, span in hub.data_requests() if path.endswith("smol.gguf") and not span]
    assert len(whole) == 1  # both nodes are this machine: the second replica finds the file
    before = len(hub.requests)
    assert up.run("deploy", SOURCE, "--name", "smol", "--context", "512", "--concurrency", "1").returncode == 0
    assert len(hub.requests) == before  # pinned: neither metadata nor files are asked for again
    up.ok("stop", "smol", "--yes")


def test_an_engine_that_cannot_start_is_told_with_its_own_words(up: Demo) -> None:
    source = "hf:org/smol:broken.gguf"

    done = up.run("deploy", source, "--name", "broken", "--context", "64", "--concurrency", "1")

    assert done.returncode == 1
    assert "broken does not start as" in done.stderr
    assert "llama.cpp did not start" in done.stderr
    up.ok("stop", "broken", "--yes")


def test_what_cannot_be_had_is_explained(up: Demo, hub: Hub) -> None:
    hub.gated.add("org/smol")
    done = up.run("deploy", "hf:org/smol@main:smol.gguf", "--name", "other")
    hub.gated.clear()

    assert done.returncode == 2
    assert "model other: source hf:org/smol@main:smol.gguf: org/smol is gated" in done.stderr
    assert "HF_TOKEN" in done.stderr
    done = up.run("deploy", "hf:org/nothing", "--name", "other")
    assert done.returncode == 2
    assert "there is no repository org/nothing" in done.stderr
