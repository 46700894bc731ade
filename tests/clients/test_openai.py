"""The gateway as unmodified OpenAI clients meet it."""

import json
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.gateway.front import Front, front
from tests.processes import eventually, stand_ins
from tests.samples import fleet, model

pytestmark = pytest.mark.envoy

MESSAGES: list[dict[str, str]] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with stand_ins(1) as engines, front(tmp_path_factory.mktemp("openai")) as running:
        running.set_key("all", "sk-all")
        running.set_key("little", "sk-little", '["m-gone"]')
        running.set_fleet(fleet(model("m-a"), model("m-gone")))
        running.set_instances({"m-a": [engines[0].port]})
        with running.client() as client:
            eventually(lambda: client.post("/v1/embeddings", json={"model": "m-a"}).status_code == 200)
        yield running


def client(gate: Front, key: str = "sk-all") -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{gate.url}/v1", api_key=key, max_retries=0, http_client=httpx.Client(trust_env=False, timeout=20)
    )


@pytest.fixture
def user(gate: Front) -> Iterator[openai.OpenAI]:
    with client(gate) as opened:
        yield opened


def test_chat(user: openai.OpenAI) -> None:
    answer = user.chat.completions.create(model="m-a", messages=MESSAGES, max_tokens=3)

    assert answer.choices[0].message.content == "word0 word1 word2 "
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_streamed_chat_with_usage(user: openai.OpenAI) -> None:
    stream = user.chat.completions.create(
        model="m-a", messages=MESSAGES, max_tokens=3, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "word0 word1 word2 "
    assert chunks[-1].usage is not None


def test_completions_and_embeddings(user: openai.OpenAI) -> None:
    assert user.completions.create(model="m-a", prompt="x", max_tokens=2).choices[0].text == "word0 word1 "
    assert user.embeddings.create(model="m-a", input="x", encoding_format="float").data[0].embedding == [0.5, -0.5]


def test_models(gate: Front, user: openai.OpenAI) -> None:
    assert [m.id for m in user.models.list()] == ["m-a", "m-gone"]
    assert user.models.retrieve("m-a").owned_by == "aivailable"
    with client(gate, "sk-little") as little:
        assert [m.id for m in little.models.list()] == ["m-gone"]


def test_an_unknown_model_is_a_not_found_error(user: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        user.chat.completions.create(model="gpt-9", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "gpt-9" in caught.value.message


def test_a_wrong_key_is_an_authentication_error(gate: Front) -> None:
    with client(gate, "sk-wrong") as stranger, pytest.raises(openai.AuthenticationError) as caught:
        stranger.chat.completions.create(model="m-a", messages=MESSAGES)
    assert caught.value.code == "invalid_api_key"


def test_a_model_the_key_may_not_use_is_a_permission_denied_error(gate: Front) -> None:
    with client(gate, "sk-little") as little, pytest.raises(openai.PermissionDeniedError) as caught:
        little.chat.completions.create(model="m-a", messages=MESSAGES)
    assert caught.value.code == "model_not_allowed"


def test_no_model_is_a_bad_request_error(user: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        user.chat.completions.create(model="", messages=MESSAGES)
    assert caught.value.type == "invalid_request_error"


def test_too_large_a_body_is_an_api_status_error_413(user: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "x" * (9 * 1024 * 1024)}]
    with pytest.raises(openai.APIStatusError) as caught:
        user.chat.completions.create(model="m-a", messages=long)
    assert caught.value.status_code == 413
    assert caught.value.code == "request_too_large"


def test_a_model_without_instance_is_an_api_status_error_503(user: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        user.chat.completions.create(model="m-gone", messages=MESSAGES)
    assert caught.value.status_code == 503
    assert caught.value.code == "model_unavailable"
    assert caught.value.response.headers["retry-after"]


def test_the_requests_that_open_webui_sends(gate: Front) -> None:
    """It lists the models, then streams with fields and headers of its own."""
    headers = {
        "Authorization": "Bearer sk-all",
        "Content-Type": "application/json",
        "X-OpenWebUI-User-Name": "Ada%20L",
        "X-OpenWebUI-User-Id": "1",
        "X-OpenWebUI-User-Role": "admin",
        "Accept-Encoding": "gzip, deflate, br",
    }
    body = {
        "model": "m-a",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 2,
        "temperature": 0.8,
    }
    with httpx.Client(base_url=gate.url, headers=headers, trust_env=False, timeout=20) as webui:
        assert [m["id"] for m in webui.get("/v1/models").json()["data"]] == ["m-a", "m-gone"]
        with webui.stream("POST", "/v1/chat/completions", content=json.dumps(body)) as answer:
            lines = [line for line in answer.iter_lines() if line]

    assert lines[-1] == "data: [DONE]"
    assert '"usage"' in lines[-2]
