"""The page of a real cluster's controllers: what Nomad, Consul and the gateways say, to whoever has a key."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.processes import ROOT, eventually
from tests.real.life import NODES, Life, secret
from tests.real.rack import rack, why_not

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.engine,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with rack() as running:
        up = Life(running, {})
        up.ok("up")
        up.ok("deploy", str(ROOT / "examples" / "demo.toml"))
        yield up
        done = up.run("down", "--yes")
        assert done.returncode == 0, done.stderr


def looked(life: Life, node: str, key: str) -> httpx.Response:
    """What the page of a node's controller answers; nodes without one refuse the connection."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"http://{life.rack.address(node)}:8090/api/picture", headers=headers, timeout=20, trust_env=False)


def pages(life: Life, key: str) -> list[dict[str, Any]]:
    found = []
    for node in NODES:
        try:
            answer = looked(life, node, key)
        except httpx.ConnectError:
            continue
        found.append(answer.raise_for_status().json())
    return found


def test_every_controller_shows_the_same_rack(life: Life) -> None:
    key = secret(life)
    life.wait_until_serving(2)
    shown = pages(life, key)

    assert len(shown) == 2
    for page in shown:
        assert not page["trouble"]
        assert {n["name"]: n["state"] for n in page["picture"]["nodes"]} == dict.fromkeys(NODES, "up")
        (model,) = page["picture"]["models"]
        assert (model["name"], model["serving"], model["condition"]) == (MODEL, 2, "good")
        cards = [card for n in page["picture"]["nodes"] for card in n["cards"]]
        assert sum(len(card["tenants"]) for card in cards) == 2
        assert all(card["in_use_mib"] is not None for card in cards), "each node's plugin says what its driver says"
        assert any("start replica" in entry["text"] for entry in page["picture"]["decisions"])


def test_the_gateways_it_names_answer_and_their_requests_are_counted(life: Life) -> None:
    key = secret(life)
    page = pages(life, key)[0]
    numbered = [url for url in page["gateways"] if "service.consul" not in url]
    assert len(numbered) == 2

    def counted() -> bool:
        for url in numbered:
            body = {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}
            headers = {"authorization": f"Bearer {key}"}
            answer = httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)
            assert answer.status_code == 200
        return any(p["picture"]["models"][0]["traffic"]["tokens_per_s"] > 0 for p in live(life, key, 3))

    eventually(counted, timeout_s=60)


def live(life: Life, key: str, count: int) -> list[dict[str, Any]]:
    """The first pictures of a controller's stream; rates need more than one look."""
    headers = {"authorization": f"Bearer {key}"}
    for node in NODES:
        url = f"http://{life.rack.address(node)}:8090/api/live"
        try:
            with httpx.stream("GET", url, headers=headers, timeout=20, trust_env=False) as answer:
                lines = (line for line in answer.iter_lines() if line.startswith("data: "))
                return [httpx.Response(200, content=next(lines)[6:]).json() for _ in range(count)]
        except httpx.ConnectError:
            continue
    raise AssertionError("no controller's page answers")


def test_without_a_key_a_controller_shows_nothing(life: Life) -> None:
    refused = []
    for node in NODES:
        try:
            refused.append(looked(life, node, "sk-wrong").status_code)
        except httpx.ConnectError:
            continue
    assert refused == [401, 401]
