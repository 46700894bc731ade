"""A real cluster as its user meets it: up, deploy, ask, share a card, be refused, down."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.clients.nomad import NomadSecrets
from aivailable.clients.nomad_api import NomadApi
from aivailable.keystore import read_keys
from aivailable.settings import NomadSettings
from tests.processes import ROOT, eventually
from tests.real.life import NODES, Life, fleet
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
T4 = {"card": "Tesla T4"}


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with rack() as running:
        up = Life(running, {})
        up.ok("up")
        yield up
        done = up.run("down", "--yes")
        assert done.returncode == 0, done.stderr
        eventually(lambda: not [pid for node in NODES for pid in up.pids(node, "aivailable ")], timeout_s=40)


def test_the_fleet_answers_through_the_address_that_the_one_name_gives(life: Life) -> None:
    said = life.ok("deploy", str(ROOT / "examples" / "demo.toml"))
    assert "everything serves" in life.run("deploy", str(ROOT / "examples" / "demo.toml")).stderr, said

    gateways = life.wait_for_dns("llm.service.consul", 2)
    engines = life.wait_for_dns(f"{MODEL}.llm-engine.service.consul", 2, "SRV")
    api = NomadApi(NomadSettings(address=life.rack.nomad))
    (key,) = read_keys(NomadSecrets(api))
    api.close()
    for address in gateways:
        answer = httpx.post(
            f"http://{address}:8080/v1/chat/completions",
            headers={"authorization": f"Bearer {key.secret}"},
            json={
                "model": MODEL,
                "temperature": 0,
                "max_tokens": 32,
                "messages": [
                    {"role": "system", "content": "You are a helpful assistant."},
                    {"role": "user", "content": "What is the capital of France?"},
                ],
            },
            timeout=30,
            trust_env=False,
        )
        assert "Paris" in answer.json()["choices"][0]["message"]["content"]
    assert len(engines) == 2
    assert "Paris" in life.ok("chat", MODEL, "What is the capital of France?", "--temperature", "0")


def test_the_ui_shows_what_a_replica_is(life: Life) -> None:
    replica = life.wait_until_serving(2)[0]
    job = life.get(f"/job/{replica.job}")

    assert job["Meta"] | {"claim_mib": "1024"} == job["Meta"]
    assert (job["Meta"]["model"], job["Meta"]["engine"], job["Meta"]["simulated"]) == (MODEL, "llamacpp", "true")
    assert job["UI"]["Description"] == f"{MODEL}, replica {replica.replica}, llamacpp (simulated)"
    assert job["UI"]["Links"][0]["Url"] == "http://llm.service.consul:8080/v1/models"


def test_what_a_node_has_cached_is_known(life: Life) -> None:
    nodes = {replica.node for replica in life.wait_until_serving(2)}
    keys = httpx.get(f"{life.rack.consul}/v1/kv/aivailable/cache/?keys", trust_env=False).json()

    assert {key.split("/")[2] for key in keys} == nodes


def test_two_engines_share_a_card_and_a_third_that_does_not_fit_is_refused(life: Life, tmp_path: Path) -> None:
    life.ok("deploy", fleet(tmp_path, {"name": "a", "where": T4}, {"name": "b", "where": T4}), "--yes")
    both = life.wait_until_serving(2)
    assert len({replica.cards for replica in both}) == 1
    life.assert_nothing_is_booked_twice()
    index = life.key("aivailable/fleet")["ModifyIndex"]

    def with_c(context: int) -> str:
        shared = [{"name": name, "where": T4} for name in ("a", "b")]
        return fleet(tmp_path, *shared, {"name": "c", "where": T4, "context": context, "concurrency": 256})

    never = life.run("deploy", with_c(8192), "--yes")
    assert never.returncode == 2, never.stdout + never.stderr
    assert "c fits nowhere; nothing was changed" in never.stderr
    assert life.key("aivailable/fleet")["ModifyIndex"] == index

    not_now = life.run("deploy", with_c(2560), "--yes")
    assert not_now.returncode == 1, not_now.stdout + not_now.stderr
    assert "1 replica(s) have no place; the others serve" in not_now.stderr
    assert "MiB, more than is free on the card" in life.ok("explain", "c")
    assert {job["ID"].split("-")[1] for job in life.get("/jobs?prefix=llm-") if not job["Stop"]} == {"a", "b"}
    life.ok("stop", "c", "--yes")


def test_nomad_itself_refuses_a_job_by_hand_that_does_not_fit(life: Life) -> None:
    uuid = life.serving()[0].cards[0]
    text = f"""
    job "by-hand" {{
      group "g" {{
        task "t" {{
          driver = "raw_exec"
          config {{
            command = "sleep"
            args    = ["60"]
          }}
          resources {{
            device "nvidia/vram/{uuid}" {{
              count = 29
            }}
          }}
        }}
      }}
    }}"""
    with httpx.Client(base_url=f"{life.rack.nomad}/v1", trust_env=False, timeout=10) as nomad:
        job = nomad.put("/jobs/parse", json={"JobHCL": text, "Canonicalize": True}).json()
        evaluation = nomad.put("/jobs", json={"Job": job}).json()["EvalID"]
        done = eventually(lambda: (e := life.get(f"/evaluation/{evaluation}"))["Status"] == "complete" and e)
        assert done["FailedTGAllocs"]["g"]["DimensionExhausted"] == {"devices: no devices match request": 1}
        nomad.delete("/job/by-hand?purge=true")


def test_a_model_is_stopped_and_logs_and_events_are_there(life: Life) -> None:
    assert "llama" in life.ok("logs", "a").lower()
    assert "a #0" in life.ok("events")
    life.ok("stop", "b", "--yes")

    assert {replica.model for replica in life.replicas()} == {"a"}


def test_the_doctor_finds_a_well_cluster_well(life: Life) -> None:
    said = life.ok("doctor")

    assert "2 controllers, 2 gateways healthy" in said
    assert "node1: 2 cards, by the plugin aivailable" in said
    assert "problem" not in said


def test_metrics_tell_the_vram_and_the_replicas(life: Life) -> None:
    leader = eventually(life.leader, timeout_s=20)
    text = httpx.get(f"http://{life.rack.address(leader)}:8090/metrics", timeout=20, trust_env=False).text

    assert "aivailable_leading 1.0" in text
    assert 'aivailable_replicas_serving{model="a"} 1.0' in text
    total = [line for line in text.splitlines() if line.startswith("aivailable_vram_total_bytes{")]
    assert sum(float(line.rpartition(" ")[2]) for line in total) == (11264 + 15360 + 2 * 8192 + 16368) * 2**20
    claimed = [line for line in text.splitlines() if line.startswith("aivailable_vram_claimed_bytes{")]
    assert sum(float(line.rpartition(" ")[2]) for line in claimed) == 1024 * 2**20
    assert "aivailable_vram_used_bytes{" in text
