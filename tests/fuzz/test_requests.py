"""Whatever clients send to a real Envoy: an OpenAI-shaped answer, and the gateway stays up."""

import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.front import Front, front
from tests.processes import eventually, stand_ins
from tests.samples import fleet, model

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
NAMES = st.one_of(st.just("m-a"), st.text(max_size=20), st.integers(), st.floats(), st.none(), st.booleans())
VALUES = st.recursive(NAMES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner))
BODIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(["model", "messages", "max_tokens", "stream"]), VALUES).map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from(
        [b'{"model":"m-a","model":"gone"}', b"[" * 5000, b'{"a":' * 5000, b"\xef\xbb\xbf{}", b'{"model":NaN}']
    ),
)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with stand_ins(1) as engines, front(tmp_path_factory.mktemp("fuzz")) as running:
        running.set_key("all", "sk-all")
        running.set_fleet(fleet(model("m-a")))
        running.set_instances({"m-a": [engines[0].port]})
        with running.client() as client:
            eventually(lambda: client.post(CHAT, json={"model": "m-a"}).status_code == 200)
        yield running


@settings(max_examples=150, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, st.sampled_from(["application/json", "text/plain", "application/json; charset=utf-8", ""]))
def test_any_body_is_answered(gate: Front, body: bytes, kind: str) -> None:
    with gate.client() as client:
        answer = client.post(CHAT, content=body, headers={"content-type": kind} if kind else {})

    assert answer.status_code in {200, 400, 404}
    if answer.status_code != 200:
        assert answer.json()["error"]["message"]


@settings(max_examples=60, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60))
def test_any_key_is_refused(gate: Front, key: str) -> None:
    with gate.client(None) as client:
        answer = client.post(CHAT, json={"model": "m-a"}, headers={"authorization": f"Bearer {key}"})

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_the_gateway_is_the_same_process_afterwards(gate: Front) -> None:
    assert httpx.get(f"http://127.0.0.1:{gate.envoy.probe_port}/ready", trust_env=False).status_code == 200
    assert "restarting" not in (gate.state / "gateway" / "envoy.log").read_text()
