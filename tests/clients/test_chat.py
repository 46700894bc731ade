"""`stream_chat` over a real gateway: patient while no instance answers, and only so long."""

from collections.abc import Iterator
from threading import Thread

import pytest

from aivailable.clients.chat import ChatRequest, stream_chat
from aivailable.errors import RetryableError
from tests.gateway.front import Front, front
from tests.processes import eventually, stand_ins
from tests.samples import fleet, model

pytestmark = pytest.mark.envoy

REQUEST = ChatRequest(model="m-a", messages=[{"role": "user", "content": "hi"}], max_tokens=4)


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway that knows the model and no instance of it."""
    with front(tmp_path_factory.mktemp("chat")) as running:
        running.set_key("all", "sk-all")
        running.set_fleet(fleet(model("m-a")))
        with running.client() as client:
            eventually(lambda: client.post("/v1/chat/completions", json={"model": "m-a"}).status_code == 503)
        yield running


def test_without_an_instance_it_is_refused_when_patience_ends(empty: Front) -> None:
    with pytest.raises(RetryableError, match="503"):
        list(stream_chat(f"{empty.url}/v1", "sk-all", REQUEST, patience_s=0.5))


def test_an_instance_that_comes_meanwhile_answers(empty: Front) -> None:
    pieces: list[str] = []

    def ask() -> None:
        pieces.extend(stream_chat(f"{empty.url}/v1", "sk-all", REQUEST, patience_s=30))

    with pytest.raises(RetryableError):
        list(stream_chat(f"{empty.url}/v1", "sk-all", REQUEST))
    with stand_ins(1) as engines:
        asking = Thread(target=ask)
        asking.start()
        empty.set_instances({"m-a": [engines[0].port]})
        asking.join(timeout=40)
    assert pieces
