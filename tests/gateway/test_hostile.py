"""What hostile or broken clients send: the gateway answers or closes, goes on, and keeps nothing of it."""

import http.client
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.front import Front, front
from tests.processes import StandIn, eventually, stand_ins
from tests.samples import fleet, model

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "m-a", "messages": []}).encode()
KEY = b"Authorization: Bearer sk-all\r\n"


@pytest.fixture(scope="module")
def engines() -> Iterator[list[StandIn]]:
    with stand_ins(2) as started:
        yield started


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, engines: list[StandIn]) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("hostile")) as running:
        running.set_key("all", "sk-all")
        running.set_key("little", "sk-little", '["m-b"]')
        running.set_fleet(fleet(model("m-a"), model("m-b")))
        running.set_instances({"m-a": [engines[0].port], "m-b": [engines[1].port]})
        with running.client() as client:
            eventually(lambda: client.post(CHAT, content=BODY, headers=JSON).status_code == 200)
        yield running


JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def serves_afterwards(gate: Front) -> Iterator[None]:
    """Whatever was sent: the next client is answered by the same Envoy."""
    pid = gate.envoy.pid
    yield
    with gate.client() as client:
        assert client.post(CHAT, content=BODY, headers=JSON).status_code == 200
    assert gate.envoy.pid == pid


def raw(gate: Front, *parts: bytes, timeout_s: float = 5.0) -> bytes:
    """All that comes back for these bytes, until the gateway closes or is silent."""
    with socket.create_connection(("127.0.0.1", int(gate.url.rpartition(":")[2])), timeout=timeout_s) as connection:
        found = b""
        try:
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(65536):
                found += piece
        except (TimeoutError, ConnectionError):
            pass
        return found


def request(*headers: bytes, body: bytes = BODY, length: bytes | None = None) -> bytes:
    lines = [b"POST " + CHAT.encode() + b" HTTP/1.1", b"Host: x", KEY.strip(), b"Content-Type: application/json"]
    size = [b"Content-Length: " + (length if length is not None else str(len(body)).encode())]
    return b"\r\n".join([*lines, *headers, *size, b"Connection: close", b"", b""]) + body


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"model": {"model": "m-a"}}', 400),
        (b'[{"model": "m-a"}]', 400),
        (b'{"messages": [{"model": "m-a"}]}', 400),
        (b'"m-a"', 400),
        (b"\xff\xfe{}", 400),
        (b'{"model": "m-a\xff"}', (400, 404)),
        (b'{"model": "m-a\\u0000"}', 404),
        (b'{"model": "' + b"x" * 100_000 + b'"}', (400, 404)),
        (b'{"model": "__none__"}', 400),
        (b'{"model": "__error__"}', 400),
        (b'{"model": "_other"}', 404),
        (b'{"model": "m-a"', 400),
        (b'{"model": "m-a"}}', 400),
        (b"[" * 5000, 400),
        (b'{"a":' * 5000, 400),
    ],
)
def test_bodies_that_name_no_model_of_the_fleet(gate: Front, content: bytes, status: int | tuple[int, ...]) -> None:
    with gate.client() as client:
        answer = client.post(CHAT, content=content, headers=JSON)

    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    assert set(answer.json()) == {"error"}


def test_naming_two_models_reaches_none_that_the_key_may_not_use(gate: Front, engines: list[StandIn]) -> None:
    forbidden = engines[0].served()
    for first, second in (("m-a", "m-b"), ("m-b", "m-a")):
        content = f'{{"model": "{first}", "messages": [], "model": "{second}"}}'.encode()
        with gate.client("sk-little") as client:
            assert client.post(CHAT, content=content, headers=JSON).status_code in (200, 400, 403)
    assert engines[0].served() == forbidden


@pytest.mark.parametrize(
    "headers",
    [
        (b"Transfer-Encoding: chunked",),
        (b"Content-Length: 5",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding : chunked",),
        (b"Content-Length: -1",),
    ],
)
def test_lengths_that_contradict_each_other_smuggle_nothing(
    gate: Front, engines: list[StandIn], headers: tuple[bytes, ...]
) -> None:
    served = sum(engine.served() for engine in engines)
    smuggled = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"

    answer = raw(gate, request(*headers, body=b"0\r\n\r\n" + smuggled))
    assert b" 200 " not in answer.split(b"\r\n")[0]
    assert answer.count(b"HTTP/1.1 200") == 0
    assert sum(engine.served() for engine in engines) == served


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST " + b"/" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nA\x00B: c\r\n\r\n",
        b"POST http://[::1]:99999/ HTTP/1.1\r\nHost: \r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxxxx",
    ],
    ids=["tls", "version", "path", "headers", "header", "zero", "absolute", "connect", "http2"],
)
def test_what_is_no_request_is_refused(gate: Front, start: bytes) -> None:
    answer = raw(gate, start, timeout_s=2.0)

    assert b" 200 " not in answer[:20]


def test_headers_that_come_one_byte_at_a_time_end_in_time(gate: Front) -> None:
    """Ten seconds for the headers of a request; others are answered meanwhile."""
    with socket.create_connection(("127.0.0.1", int(gate.url.rpartition(":")[2])), timeout=1) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        begun = time.monotonic()

        def closed() -> bool:
            try:
                slow.sendall(b"x")
                slow.settimeout(0.2)
                return slow.recv(100) != b"" or True
            except TimeoutError:
                return False
            except OSError:
                return True

        eventually(closed, timeout_s=15)
    assert time.monotonic() - begun > 5


@pytest.mark.parametrize(
    "key",
    ["sk-all sk-little", "sk-all,sk-little", "sk-al", "SK-ALL", "%00", "sk-all'--", "x" * 10_000],
)
def test_odd_keys_open_nothing(gate: Front, key: str) -> None:
    answer = httpx.post(
        f"{gate.url}{CHAT}", content=BODY, headers={**JSON, "authorization": f"Bearer {key}"}, trust_env=False
    )
    assert answer.status_code == 401


def test_ten_thousand_invented_models_make_no_series(gate: Front) -> None:
    def series() -> list[str]:
        return httpx.get(f"http://127.0.0.1:{gate.envoy.probe_port}/metrics", trust_env=False).text.splitlines()

    connection = http.client.HTTPConnection("127.0.0.1", int(gate.url.rpartition(":")[2]), timeout=10)
    headers = {**JSON, "authorization": "Bearer sk-all"}

    def ask(number: int) -> int:
        connection.request("POST", CHAT, b'{"model":"x%d"}' % number, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    assert ask(0) == 404
    before = len(series())
    assert {ask(number) for number in range(10_000)} == {404}
    connection.close()
    after = series()
    # Histograms show their buckets some seconds late; that is not one for each name.
    assert len(after) < before + 200
    assert not [line for line in after if '"x' in line]
