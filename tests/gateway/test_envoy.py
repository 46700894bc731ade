"""What clients see, by a real Envoy in front of stand-in engines."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.front import Front, front
from tests.processes import StandIn, eventually, stand_ins
from tests.samples import fleet, model

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
FLEET = fleet(model("m-a"), model("org/M.B"), model("m-gone"))


@pytest.fixture(scope="module")
def engines() -> Iterator[list[StandIn]]:
    with stand_ins(3) as started:
        yield started


@pytest.fixture(scope="module")
def gate(engines: list[StandIn], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("gateway")) as running:
        running.set_key("all", "sk-all")
        running.set_key("only-a", "sk-only-a", '["m-a"]')
        running.set_fleet(FLEET)
        running.set_instances({"m-a": [e.port for e in engines[:2]], "org/M.B": [engines[2].port]})
        with running.client() as client:
            for name in ("m-a", "org/M.B"):
                eventually(lambda n=name: client.post(CHAT, json=body(n)).status_code == 200)  # type: ignore[misc] # a default binds the loop's value
        yield running


@pytest.fixture
def client(gate: Front) -> Iterator[httpx.Client]:
    with gate.client() as opened:
        yield opened


def body(name: object = "m-a", **more: object) -> dict[str, object]:
    return {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, **more}


def error(response: httpx.Response) -> dict[str, object]:
    assert response.headers["content-type"] == "application/json"
    found: dict[str, object] = response.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
def test_the_model_in_the_body_picks_the_engine(client: httpx.Client, engines: list[StandIn], path: str) -> None:
    before = [engine.served() for engine in engines]

    for _ in range(8):
        assert client.post(path, json=body("org/M.B")).status_code == 200

    assert [engine.served() for engine in engines] == [before[0], before[1], before[2] + 8]


def test_replicas_of_a_model_share_its_requests(client: httpx.Client, engines: list[StandIn]) -> None:
    before = [engine.served() for engine in engines]

    for _ in range(30):
        client.post(CHAT, json=body())

    assert all(engine.served() > count for engine, count in zip(engines[:2], before[:2], strict=True))


def test_the_models_are_those_of_the_fleet(client: httpx.Client) -> None:
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["m-a", "org/M.B", "m-gone"]
    assert client.get("/v1/models/org/M.B").json()["id"] == "org/M.B"
    assert error(client.get("/v1/models/nope"))["code"] == "model_not_found"


@pytest.mark.parametrize("name", ["gpt-9", 'a"b`%\\n{}', "%DYNAMIC_METADATA(x:y)%", "M-A", "m-a ", "ünï"])
def test_an_unknown_model_is_404_and_named(client: httpx.Client, name: str) -> None:
    response = client.post(CHAT, json=body(name))

    assert response.status_code == 404
    assert error(response)["code"] == "model_not_found"
    assert error(response)["message"] == f"The model `{name}` does not exist or you do not have access to it."


@pytest.mark.parametrize(
    "content", [b'{"messages": []}', b"null", b'{"model": {"a": 1}}', b"[1]", b"", b'{"model": ""}', b'{"model": null}']
)
def test_no_model_is_400(client: httpx.Client, content: bytes) -> None:
    response = client.post(CHAT, content=content, headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert error(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(("content", "kind"), [(b'{"model":', "application/json"), (b'{"model":"m-a"}', "text/plain")])
def test_broken_json_and_other_content_types_are_400(client: httpx.Client, content: bytes, kind: str) -> None:
    response = client.post(CHAT, content=content, headers={"content-type": kind})

    assert response.status_code == 400
    error(response)


def test_a_content_type_with_a_charset_is_json(client: httpx.Client) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}

    assert client.post(CHAT, content=json.dumps(body()), headers=headers).status_code == 200


@pytest.mark.parametrize("key", [None, "sk-wrong", ""])
def test_no_key_or_a_wrong_one_is_401(gate: Front, key: str | None) -> None:
    with gate.client(key) as stranger:
        for response in (stranger.post(CHAT, json=body()), stranger.get("/v1/models"), stranger.get("/x")):
            assert response.status_code == 401
            assert error(response)["code"] == "invalid_api_key"


def test_x_api_key_is_a_key_too(gate: Front) -> None:
    with gate.client(None) as client:
        assert client.post(CHAT, json=body(), headers={"x-api-key": "sk-all"}).status_code == 200
        assert client.post(CHAT, json=body(), headers={"x-api-key": "sk-no"}).status_code == 401


def test_a_key_without_the_right_is_403(gate: Front) -> None:
    with gate.client("sk-only-a") as client:
        assert client.post(CHAT, json=body("m-a")).status_code == 200
        response = client.post(CHAT, json=body("org/M.B"))

    assert response.status_code == 403
    assert error(response)["code"] == "model_not_allowed"


def test_a_key_sees_only_the_models_it_may_use(gate: Front) -> None:
    with gate.client("sk-only-a") as client:
        for headers in ({}, {"x-client-id": "all"}):
            listed = client.get("/v1/models", headers=headers).json()["data"]
            assert [entry["id"] for entry in listed] == ["m-a"]
        assert client.get("/v1/models/m-a").status_code == 200
        assert client.get("/v1/models/org/M.B").status_code == 403


def test_a_client_cannot_pass_for_another(gate: Front) -> None:
    with gate.client("sk-only-a") as client:
        response = client.post(CHAT, json=body("org/M.B"), headers={"x-client-id": "all"})

    assert response.status_code == 403


def test_a_key_is_live_and_dead_within_two_seconds_without_a_new_listener(gate: Front) -> None:
    with gate.client("sk-new") as client:
        assert client.post(CHAT, json=body()).status_code == 401
        gate.set_key("new", "sk-new")
        eventually(lambda: client.post(CHAT, json=body()).status_code == 200, timeout_s=2)
        gate.remove_key("new")
        eventually(lambda: client.post(CHAT, json=body()).status_code == 401, timeout_s=2)
    transport = httpx.HTTPTransport(uds=str(gate.state / "gateway" / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://admin") as admin:
        stats = admin.get("/stats?filter=listener_manager.listener_(added|modified)").text
    assert "listener_modified: 0" in stats


def test_the_key_file_is_for_its_owner_only_and_the_key_goes_no_further(gate: Front) -> None:
    assert (gate.state / "gateway" / "keys.json").stat().st_mode & 0o777 == 0o600
    assert "sk-all" not in (gate.state / "gateway" / "access.log").read_text()


def test_a_known_model_without_an_instance_is_503_with_retry_after(client: httpx.Client) -> None:
    response = client.post(CHAT, json=body("m-gone"))

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert error(response)["code"] == "model_unavailable"


def test_other_paths_are_404_and_other_methods_405(client: httpx.Client) -> None:
    assert error(client.get("/v2/x"))["code"] == "unknown_url"
    assert client.get(CHAT).status_code == 405
    error(client.get(CHAT))


@pytest.mark.parametrize("size_mib", [1.5, 7.9])
@pytest.mark.parametrize("chunked", [False, True])
def test_long_prompts_pass_also_chunked_and_with_the_model_last(
    client: httpx.Client, size_mib: float, chunked: bool
) -> None:
    text = json.dumps({"messages": [{"role": "user", "content": "x" * int(size_mib * 1024 * 1024)}], "model": "m-a"})
    content = iter([text[:1000].encode(), text[1000:].encode()]) if chunked else text.encode()

    response = client.post(CHAT, content=content, headers={"content-type": "application/json"})

    assert response.status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_eight_mib_is_413(gate: Front, chunked: bool) -> None:
    text = json.dumps({"model": "m-a", "x": "y" * (9 * 1024 * 1024)}).encode()
    with gate.client() as client:
        response = client.post(
            CHAT, content=iter([text]) if chunked else text, headers={"content-type": "application/json"}
        )

    assert response.status_code == 413
    assert error(response)["code"] == "request_too_large"


def test_a_stream_arrives_piece_by_piece(tmp_path: Path, gate: Front) -> None:
    del tmp_path
    with stand_ins(1, "--tokens-per-s", "20") as slow:
        gate.set_fleet(fleet(*FLEET.models, model("slow")))
        services = {"slow": [slow[0].port]}
        before = gate_instances(gate)
        gate.set_instances({**before, **services})
        with gate.client() as client:
            eventually(lambda: client.post(CHAT, json=body("slow")).status_code == 200)
            arrivals: list[float] = []
            with client.stream("POST", CHAT, json=body("slow", max_tokens=10, stream=True)) as response:
                assert response.headers["content-type"] == "text/event-stream"
                arrivals = [time.monotonic() for line in response.iter_lines() if line.startswith("data: {")]
        gate.set_fleet(FLEET)
        gate.set_instances(before)
        with gate.client() as client:
            eventually(lambda: client.post(CHAT, json=body("slow")).status_code == 404)
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert len(arrivals) == 11
    assert sum(gap > 0.02 for gap in gaps) >= 7


def gate_instances(gate: Front) -> dict[str, list[int]]:
    text = json.loads((gate.state / "services.json").read_text())["value"]["llm-engine"]
    ports: dict[str, list[int]] = {}
    for instance in text:
        ports.setdefault(instance["meta"]["model"], []).append(instance["port"])
    return ports


def test_a_preflight_needs_no_key_and_answers_carry_cors_headers(gate: Front) -> None:
    asks = {
        "origin": "https://ui.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    with gate.client(None) as browser:
        preflight = browser.options(CHAT, headers=asks)
        refused = browser.post(CHAT, json=body(), headers={"origin": "https://ui.example"})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://ui.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://ui.example"


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("GET", "/v1/models/m-a"), ("GET", "/nowhere")])
def test_answers_without_an_engine_carry_cors_headers_too(gate: Front, method: str, path: str) -> None:
    for key in ("sk-all", None):
        with gate.client(key) as client:
            response = client.request(method, path, headers={"origin": "https://ui.example"})
        assert response.headers["access-control-allow-origin"] == "*"


def test_a_request_id_is_kept_or_made(client: httpx.Client) -> None:
    kept = client.post(CHAT, json=body(), headers={"x-request-id": "mine-1"})
    made = client.post(CHAT, json=body())

    assert kept.headers["x-request-id"] == "mine-1"
    assert len(made.headers["x-request-id"]) >= 16


def test_probes_need_no_key(gate: Front) -> None:
    assert httpx.get(f"http://127.0.0.1:{gate.envoy.probe_port}/ready", trust_env=False).status_code == 200


def test_an_envoy_that_dies_is_back(gate: Front) -> None:
    gate.envoy._process.kill()

    def healed() -> bool:
        try:
            with gate.client() as client:
                return client.post(CHAT, json=body()).status_code == 200
        except httpx.TransportError:
            return False

    eventually(healed, timeout_s=10)


def test_no_request_fails_when_an_engine_is_killed_under_load(tmp_path: Path) -> None:
    """50 requests/s; the dead engine stays listed for a second, as with slow health checks."""
    with stand_ins(2) as engines, front(tmp_path) as gate:
        gate.set_key("all", "sk-all")
        gate.set_fleet(fleet(model("m-a")))
        gate.set_instances({"m-a": [engine.port for engine in engines]})
        with gate.client() as client:
            eventually(lambda: client.post(CHAT, json=body()).status_code == 200)
        outcomes: list[int] = []

        def send() -> None:
            with gate.client() as client:
                outcomes.append(client.post(CHAT, json=body()).status_code)

        senders = []
        begin = time.monotonic()
        for number in range(200):
            sender = threading.Thread(target=send)
            senders.append(sender)
            time.sleep(max(0.0, begin + number / 50 - time.monotonic()))  # the load's rate
            sender.start()
            if number == 75:
                engines[0].kill()
            if number == 125:
                gate.set_instances({"m-a": [engines[1].port]})
        for sender in senders:
            sender.join(10)

    assert outcomes == [200] * 200
