"""`up --with open-webui` on a real Nomad and Consul; a stand-in is started in place of Open WebUI (chat_page.py)."""

import hashlib
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from aivailable.clients.nomad import NomadSecrets
from aivailable.clients.nomad_api import NomadApi
from aivailable.keystore import read_key
from aivailable.settings import NomadSettings
from tests.processes import ROOT, eventually
from tests.real.life import NODES, Life, allocations
from tests.real.rack import rack, why_not

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.envoy,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

JOB = "aivailable-open-webui"
STAND_IN = {
    "AIVAILABLE_OPEN_WEBUI_COMMAND": f"{sys.executable} {ROOT / 'tests' / 'real' / 'chat_page.py'}",
    "AIVAILABLE_ENVOY_COMMAND": str(Path(sys.executable).parent / "envoy"),
    "AIVAILABLE_TLS_SELF_SIGNED": "true",
}


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with rack() as running:
        yield Life(running, STAND_IN)


@pytest.fixture(scope="module")
def page(life: Life) -> str:
    """The address that `up` prints."""
    said = life.ok("up", "--with", "open-webui")
    assert "The first API key" in said
    (found,) = re.findall(r"open-webui: (http://\S+:3000) ", said)
    return str(found)


def ask(page: str, path: str) -> tuple[int, Any]:
    try:
        answer = httpx.get(f"{page}{path}", timeout=15, trust_env=False)
    except httpx.TransportError as error:
        return 0, str(error)
    return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def secrets(life: Life) -> Iterator[NomadSecrets]:
    api = NomadApi(NomadSettings(address=life.rack.nomad))
    yield NomadSecrets(api)
    api.close()


def test_without_docker_it_is_refused_before_anything_is_registered(life: Life, secrets: NomadSecrets) -> None:
    done = replace(life, environment={}).run("up", "--with", "open-webui")

    assert done.returncode == 2, done.stderr
    assert "Open WebUI: no ready node has the task driver docker" in done.stderr
    assert "hint: install Docker on a node" in done.stderr
    assert life.get("/jobs") == []
    assert not secrets.list("aivailable")


def test_it_finds_the_models_by_its_own_key(secrets: NomadSecrets, page: str) -> None:
    key = read_key(secrets, "open-webui")
    assert key is not None

    assert eventually(lambda: ask(page, "/models")[0] == 200, timeout_s=20)
    assert ask(page, "/models")[1]["object"] == "list"
    told = ask(page, "/told")[1]
    assert told["OPENAI_API_KEYS"] == told["RAG_OPENAI_API_KEY"] == hashlib.sha256(key.secret.encode()).hexdigest()
    assert told["OPENAI_API_BASE_URLS"].startswith("http://127.0.0.1:")
    assert (told["ENABLE_PERSISTENT_CONFIG"], told["ENABLE_OLLAMA_API"]) == ("false", "false")


def test_a_variable_of_its_own_is_set_without_a_new_job(secrets: NomadSecrets, page: str) -> None:
    path = f"nomad/jobs/{JOB}"
    odd = 'Our "models" & $more, #1'
    secrets.write(path, {**(secrets.read(path) or {}), "WEBUI_NAME": odd})

    eventually(lambda: told(page).get("WEBUI_NAME") == odd, timeout_s=60)


def told(page: str) -> Mapping[str, str]:
    status, found = ask(page, "/told")
    return dict(found) if status == 200 else {}


def test_again_it_keeps_its_secret_and_its_data_and_up_alone_leaves_it(life: Life, page: str) -> None:
    before, count, allocation = told(page)["WEBUI_SECRET_KEY"], ask(page, "/data")[1]["count"], allocations(life, JOB)
    index = life.get(f"/job/{JOB}")["JobModifyIndex"]

    life.ok("up")
    assert life.get(f"/job/{JOB}")["JobModifyIndex"] == index
    life.ok("up", "--with", "open-webui,open-webui", "--with", "open-webui")
    assert allocations(life, JOB) == allocation

    httpx.delete(f"{life.rack.nomad}/v1/job/{JOB}", trust_env=False).raise_for_status()
    eventually(lambda: ask(page, "/health")[0] == 0, timeout_s=30)
    life.ok("up", "--with", "open-webui")
    assert told(page)["WEBUI_SECRET_KEY"] == before
    assert ask(page, "/data")[1]["count"] == count + 1


def test_a_rotated_key_is_used_without_asking_anybody(life: Life, page: str) -> None:
    before = told(page)["OPENAI_API_KEYS"]
    life.ok("keys", "rotate", "open-webui")

    eventually(lambda: told(page).get("OPENAI_API_KEYS", before) != before, timeout_s=60)
    assert eventually(lambda: ask(page, "/models")[0] == 200, timeout_s=20)


def test_the_doctor_and_a_mistyped_name(life: Life, page: str) -> None:
    assert "open-webui is healthy" in life.ok("doctor"), page
    done = life.run("up", "--with", "open-webu")
    assert done.returncode == 2
    assert "--with open-webu: there is nothing of that name\n\nhint: did you mean open-webui?" in done.stderr


def test_it_survives_the_death_of_a_gateways_node(life: Life, page: str) -> None:
    at = next(node for node in NODES if f"//{life.rack.address(node)}:" in page)
    nodes = {a["NodeName"] for a in life.get("/allocations") if a["JobID"] == "aivailable-gateway"}
    other = min(nodes - {at})
    assert eventually(lambda: ask(page, "/models")[0] == 200, timeout_s=20)

    life.rack.kill_node(other)
    until = time.monotonic() + 15
    answers = []
    while time.monotonic() < until:
        begun = time.monotonic()
        answers.append((ask(page, "/models")[0], time.monotonic() - begun))
    print(f"{len(answers)} asked, the slowest took {max(took for _, took in answers):.2f} s")
    assert {status for status, _ in answers} == {200}
    life.rack.start_consul(other)
    life.rack.start_nomad(other)
    life.rack.wait_for_nodes(other)


def test_down_stops_it_and_says_how_it_comes_back(life: Life, page: str) -> None:
    done = life.run("down", "--yes")

    assert done.returncode == 0, done.stderr
    assert "stopped: open-webui, controllers" in done.stderr
    assert "`aivailable up --with open-webui` brings it back" in done.stderr
    eventually(lambda: ask(page, "/health")[0] == 0, timeout_s=30)
    assert life.get(f"/job/{JOB}")["Stop"]
