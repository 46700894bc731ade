"""Which model a request names: by its header, its body or a form; by the script, else by Envoy's JSON parser."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.front import Front, front
from tests.processes import StandIn, eventually, stand_ins
from tests.samples import EIGHT_B, fleet, model

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
LONG = json.dumps('It is "quoted", and a \\ and {[ come, and "model": "m-b" is said. ' * 1000)
JSON = {"content-type": "application/json"}
MANY = 60


@pytest.fixture(scope="module")
def engines() -> Iterator[list[StandIn]]:
    with stand_ins(2) as started:
        yield started


@pytest.fixture(scope="module")
def gate(engines: list[StandIn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("naming")) as running:
        running.set_key("all", "sk-all")
        running.set_key("only-b", "sk-only-b", '["org/M.B"]')
        others = [model(f"other-{number}") for number in range(MANY)]
        running.set_fleet(fleet(*others, model("m-a"), model("org/M.B", EIGHT_B)))
        running.set_instances({"m-a": [engines[0].port], "org/M.B": [engines[1].port], "other-59": [engines[1].port]})
        with running.client() as client:
            for name in ("m-a", "org/M.B"):
                eventually(lambda n=name: client.post(CHAT, json={"model": n}).status_code == 200)  # type: ignore[misc] # a default binds the loop's value
        yield running


@pytest.fixture
def client(gate: Front) -> Iterator[httpx.Client]:
    with gate.client() as opened:
        yield opened


def parsed(gate: Front) -> int:
    """How many bodies Envoy's JSON parser has read."""
    url = f"http://127.0.0.1:{gate.envoy.probe_port}/metrics"
    lines = httpx.get(url, trust_env=False).text.splitlines()
    counts = [line for line in lines if line.startswith("envoy_json_to_metadata_rq_success{")]
    return sum(int(line.rpartition(" ")[2]) for line in counts)


@pytest.mark.parametrize(
    "text",
    [
        '{"model": "m-a", "messages": []}',
        '  {\n "model" :\t"m-a" }',
        f'{{"messages": [{LONG}], "model": "m-a"}}',
        f'{{"messages": [{{"content": {LONG}}}], "model": "m-a", "stop": ["{{", "\\"}}"], "tools": [{{"a": {{}}}}]}}',
        '{"role": "model", "model": "m-a"}',
        f'{{"stop": "}}]", "model":"m-a", "messages": [{LONG}]}}',
    ],
    ids=["first", "spaces", "last", "near the end", "a value", "near the start"],
)
def test_the_script_sees_what_is_plain(gate: Front, client: httpx.Client, engines: list[StandIn], text: str) -> None:
    json.loads(text)
    before, served = parsed(gate), engines[0].served()

    assert client.post(CHAT, content=text.encode(), headers=JSON).status_code == 200
    assert engines[0].served() == served + 1
    assert parsed(gate) == before


@pytest.mark.parametrize(
    "text",
    [
        '{"metadata": {"model": "m-b"}, "model": "m-a"}',
        '{"x": [{"model": "org/M.B"}], "y": {"model": "org/M.B"}, "model": "m-a"}',
        '{"messages": [], "mod\\u0065l": "m-a"}',
        '{"messages": [], "model": "m\\u002da"}',
    ],
)
def test_what_is_not_plain_is_parsed(gate: Front, client: httpx.Client, engines: list[StandIn], text: str) -> None:
    before, served = parsed(gate), engines[0].served()

    assert client.post(CHAT, content=text.encode(), headers=JSON).status_code == 200
    assert engines[0].served() == served + 1
    assert parsed(gate) == before + 1


def test_a_name_with_escaped_slashes_is_the_same_name(client: httpx.Client, engines: list[StandIn]) -> None:
    served = engines[1].served()

    assert client.post(CHAT, content=b'{"model": "org\\/M.B"}', headers=JSON).status_code == 200
    assert engines[1].served() == served + 1


@pytest.mark.parametrize(
    "text", ['{"messages": [{"model": "m-a"}]}', '[{"model": "m-a"}]', '{"a": {"model": "m-a"}, "b": 1}']
)
def test_a_model_within_something_is_none(client: httpx.Client, text: str) -> None:
    assert client.post(CHAT, content=text.encode(), headers=JSON).status_code == 400


def test_the_header_goes_before_the_body(gate: Front, client: httpx.Client, engines: list[StandIn]) -> None:
    before, served = parsed(gate), engines[1].served()
    answer = client.post(CHAT, json={"model": "m-a"}, headers={"x-model": "org/M.B"})

    assert answer.status_code == 200
    assert engines[1].served() == served + 1
    assert parsed(gate) == before
    unknown = client.post(CHAT, json={"model": "m-a"}, headers={"x-model": "gpt-9"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert "`gpt-9`" in unknown.json()["error"]["message"]


def test_the_header_gives_no_rights(gate: Front) -> None:
    with gate.client("sk-only-b") as client:
        assert client.post(CHAT, json={"model": "m-a"}, headers={"x-model": "org/M.B"}).status_code == 200
        assert client.post(CHAT, json={"model": "org/M.B"}, headers={"x-model": "m-a"}).status_code == 403


def test_with_the_header_bodies_are_of_any_size(client: httpx.Client) -> None:
    content = json.dumps({"model": "m-a", "messages": ["x" * 12 * 1024 * 1024]}).encode()

    assert client.post(CHAT, content=content, headers=JSON).status_code == 413
    assert client.post(CHAT, content=content, headers={**JSON, "x-model": "m-a"}).status_code == 200


def test_the_last_of_many_models_is_found(client: httpx.Client) -> None:
    assert client.post(CHAT, json={"model": "other-59"}).status_code == 200
    assert client.post(CHAT, json={"model": "other-1"}).status_code == 503


@pytest.mark.parametrize("size_mib", [1, 20])
@pytest.mark.parametrize("last", [False, True])
def test_a_form_with_a_file_names_its_model(client: httpx.Client, *, size_mib: int, last: bool) -> None:
    """The stand-in serves no audio, and says so: it was reached."""
    file = ("speech.wav", b"RIFF\r\n\r\n" * (size_mib * 1024 * 1024 // 8), "audio/wav")
    parts: list[tuple[str, tuple[str | None, bytes | str] | tuple[str, bytes, str]]] = [("file", file)]
    parts.insert(1 if last else 0, ("model", (None, "org/M.B")))
    answer = client.post("/v1/audio/transcriptions", files=parts)

    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "File Not Found")


def test_a_form_without_a_model_or_too_large_is_refused(client: httpx.Client) -> None:
    url = "/v1/audio/transcriptions"
    file = ("speech.wav", b"RIFF", "audio/wav")

    assert client.post(url, files={"file": file}).status_code == 400
    assert client.post(url, json={"model": "org/M.B"}).status_code in (400, 404)
    assert client.post(url, files={"file": file}, data={"model": "m-a"}).json()["error"]["code"] == "unknown_url"
    large = ("speech.wav", b"x" * 26 * 1024 * 1024, "audio/wav")
    assert client.post(url, files={"file": large}, data={"model": "org/M.B"}).status_code == 413


def test_the_scripts_made_no_errors(gate: Front) -> None:
    """Last in this file: an error in a script only sends a request the long way, which nobody would see."""
    text = httpx.get(f"http://127.0.0.1:{gate.envoy.probe_port}/metrics", trust_env=False).text
    errors = [line for line in text.splitlines() if "_lua_" in line and "_errors{" in line]

    assert len(errors) == 2
    assert [int(line.rpartition(" ")[2]) for line in errors] == [0, 0]
