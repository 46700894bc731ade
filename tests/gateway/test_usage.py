"""Usage as a real Envoy counts it, and limits as clients meet them."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.gateway.meter import day_of, read_counters, read_usage
from aivailable.keystore import create_key
from aivailable.model.usage import Counts
from tests.gateway.front import Front, front
from tests.processes import eventually, stand_ins
from tests.samples import fleet, model

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
BODY = {"model": "m-a", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with stand_ins(1) as engines, front(tmp_path_factory.mktemp("usage")) as running:
        running.set_key("all", "sk-all")
        running.set_fleet(fleet(model("m-a")))
        running.set_instances({"m-a": [engines[0].port]})
        with running.client() as client:
            eventually(lambda: client.post(CHAT, json=BODY).status_code == 200)
        yield running


def limited(gate: Front, name: str, **limits: float) -> Callable[[], httpx.Response]:
    """A new key that the gateway knows, asked with by the function that is given back."""
    key = create_key(EmbeddedSecrets(gate.state), name, **limits)  # type: ignore[arg-type] # numbers of that function
    with gate.client(key.secret) as client:
        eventually(lambda: client.get("/v1/models").status_code != 401)

    def ask() -> httpx.Response:
        with gate.client(key.secret) as client:
            return client.post(CHAT, json=BODY)

    return ask


def used(gate: Front, key: str) -> Counts:
    days = [usage.days.get(day_of(time.time()), {}) for usage in read_usage(EmbeddedRegistry(gate.state)).values()]
    return sum((counts for day in days for counts in day.get(key, {}).values()), Counts())


def test_answers_are_counted_by_key_and_model(gate: Front) -> None:
    ask = limited(gate, "counted")
    answers = [ask().json()["usage"] for _ in range(3)]

    expected = Counts(
        requests=3,
        prompt=sum(usage["prompt_tokens"] for usage in answers),
        completion=sum(usage["completion_tokens"] for usage in answers),
    )
    eventually(lambda: used(gate, "counted") == expected)


def test_streams_count_their_usage_or_as_unknown(gate: Front) -> None:
    create_key(EmbeddedSecrets(gate.state), "streams")
    secret = EmbeddedSecrets(gate.state).read("aivailable/keys/streams")
    assert secret is not None
    with gate.client(secret["secret"]) as client:
        eventually(lambda: client.get("/v1/models").status_code == 200)
        told = client.post(CHAT, json={**BODY, "stream": True, "stream_options": {"include_usage": True}})
        assert '"usage"' in told.text
        client.post(CHAT, json={**BODY, "stream": True})

    counts = eventually(lambda: used(gate, "streams") if used(gate, "streams").requests == 2 else None)
    assert counts is not None
    assert counts.unknown == 1
    assert counts.completion > 0


def test_refused_requests_and_names_that_clients_invent_are_nobodys(gate: Front) -> None:
    with gate.client() as client:
        for number in range(20):
            client.post(CHAT, json={"model": f"invented-{number}"})
    httpx.get(f"{gate.url}/v1/models", headers={"x-client-id": "spoofed"}, trust_env=False)

    metrics = httpx.get(f"http://127.0.0.1:{gate.envoy.probe_port}/metrics", trust_env=False).text
    assert "envoy_llm_requests" in metrics
    assert "invented" not in metrics
    assert "spoofed" not in metrics
    assert {model for _, model in read_counters(gate.state / "gateway")} == {"m-a"}


def test_nothing_but_counters_is_reached_past_the_probe_port(gate: Front) -> None:
    probe = f"http://127.0.0.1:{gate.envoy.probe_port}"

    assert httpx.get(f"{probe}/metrics/../quitquitquit", trust_env=False).status_code == 404
    assert httpx.post(f"{probe}/quitquitquit", trust_env=False).status_code == 404
    assert httpx.get(f"{probe}/config_dump", trust_env=False).status_code == 404
    assert "envoy_" in httpx.get(f"{probe}/metrics?x=/config_dump", trust_env=False).text


def test_requests_per_minute(gate: Front) -> None:
    ask = limited(gate, "slow", rpm=30)
    with gate.client() as client:
        unlimited = client.post(CHAT, json=BODY)
    answers = [ask() for _ in range(40)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert 5 <= len(refused) <= 12
    assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused[0].headers["retry-after"]) > 0
    assert answers[0].headers["x-ratelimit-limit-requests"] == "30"
    assert int(refused[0].headers["x-ratelimit-remaining-requests"]) == 0
    assert unlimited.status_code == 200
    assert not [name for name in unlimited.headers if "ratelimit" in name]


@pytest.mark.parametrize(("limit", "longest_s"), [("tpm", 60), ("tokens_per_day", 86_400)])
def test_tokens_run_out_within_two_seconds(gate: Front, limit: str, longest_s: int) -> None:
    ask = limited(gate, f"little-{limit.replace('_', '-')}", **{limit: 20})
    assert ask().status_code == 200

    begun = time.monotonic()
    refused = eventually(lambda: answer if (answer := ask()).status_code == 429 else None, timeout_s=3)
    assert time.monotonic() - begun < 3
    assert refused is not None
    assert refused.json()["error"]["type"] == "tokens"
    assert 0 < int(refused.headers["retry-after"]) <= longest_s
    with gate.client() as client:
        assert client.post(CHAT, json=BODY).status_code == 200


def test_a_key_expires(gate: Front) -> None:
    ask = limited(gate, "short", expires_at=time.time() + 3)
    assert ask().status_code == 200

    eventually(lambda: ask().status_code == 401, timeout_s=6)
