"""What Nomad's refusals mean to whoever asked."""

import pytest

from aivailable.clients.nomad_api import NomadApi
from aivailable.errors import PermanentError, RetryableError
from aivailable.settings import NomadSettings
from tests.clients.fakestores import fake_stores


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Server error authenticating request", RetryableError),
        ("rpc error: EOF", RetryableError),
        ("failed to get conn: rpc error: lead thread didn't get connection", RetryableError),
        ("No cluster leader", RetryableError),
        ("No path to region", RetryableError),
        ("it broke", PermanentError),
    ],
)
def test_an_agent_cut_off_from_its_servers_may_answer_later(words: str, expected: type[Exception]) -> None:
    with fake_stores() as stores:
        stores.words["/v1/nodes"] = words
        api = NomadApi(NomadSettings(address=stores.url), sleep=lambda _: None)
        with pytest.raises(expected, match=words.split(maxsplit=1)[0]) as raised:
            api.get("/v1/nodes")
        api.close()

    assert type(raised.value) is expected
