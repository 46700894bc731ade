"""Add-ons: their names, where Open WebUI may run, and what the doctor says of them."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from aivailable.clients.nomad_volumes import HostVolume, NomadVolumes
from aivailable.controller.addons import ADDONS, find_addons
from aivailable.controller.checkup import judge
from aivailable.controller.open_webui import check_open_webui, prepare_open_webui
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.errors import UserError
from aivailable.keystore import read_key
from aivailable.model.checkup import ClusterFacts, Level
from aivailable.model.snapshot import Snapshot
from aivailable.settings import Settings
from tests.samples import card, node

DOCKER = {"drivers": ("docker", "raw_exec"), "meta": {"aivailable_consul": "http://127.0.0.1:8500"}}
BIG = node("a-big", card("Tesla T4", 15360, node="a-big"), **DOCKER)
SMALL = node("small", **DOCKER)
BARE = replace(SMALL, name="bare", id="id-bare", drivers=("raw_exec",))


@dataclass
class Volumes:
    """Nomad's API as far as volumes go: what there is, and what was made."""

    there: list[dict[str, Any]] = field(default_factory=list)

    def get(self, path: str, **_: object) -> Any:
        return self.there if path == "/v1/volumes" else next(v for v in self.there if path.endswith(v["ID"]))

    def put(self, _: str, body: dict[str, Any]) -> Any:
        self.there.append({**body["Volume"], "ID": "v1", "HostPath": "/volumes/v1"})
        return {"Volume": self.there[-1]}


@dataclass
class Nomad:
    volumes: NomadVolumes


def nomad(*volumes: dict[str, Any]) -> Any:
    return Nomad(NomadVolumes(Volumes(list(volumes))))  # type: ignore[arg-type]


def on(node_id: str, volume_id: str = "v1") -> dict[str, Any]:
    return {"ID": volume_id, "Name": "aivailable-open-webui", "NodeID": node_id, "HostPath": f"/volumes/{volume_id}"}


def test_names_may_be_given_in_one_word_or_several_and_each_counts_once() -> None:
    (found,) = find_addons(["open-webui,open-webui", " open-webui"])
    assert found is ADDONS["open-webui"]
    assert find_addons([]) == ()


@pytest.mark.parametrize(("word", "hint"), [("openwebui", "did you mean open-webui?"), ("x,", "there are open-webui")])
def test_an_unknown_name_is_refused_with_the_nearest_one(word: str, hint: str) -> None:
    with pytest.raises(UserError) as refused:
        find_addons([word])
    assert refused.value.hint.startswith(hint)


def test_its_data_goes_to_a_node_with_docker_and_few_cards_and_nothing_is_made_twice(tmp_path: Any) -> None:
    secrets, snapshot = EmbeddedSecrets(tmp_path), Snapshot(nodes=(BARE, BIG, SMALL))
    rack = nomad()
    check_open_webui(rack, snapshot, Settings())
    assert rack.volumes.find("aivailable-open-webui") is None

    first = prepare_open_webui(rack, secrets, snapshot, Settings())
    key, own = read_key(secrets, "open-webui"), secrets.read("nomad/jobs/aivailable-open-webui")
    assert rack.volumes.find("aivailable-open-webui") == HostVolume(node_id=SMALL.id, path="/volumes/v1")
    assert prepare_open_webui(rack, secrets, snapshot, Settings()) == first
    assert (read_key(secrets, "open-webui"), secrets.read("nomad/jobs/aivailable-open-webui")) == (key, own)


@pytest.mark.parametrize(
    ("nodes", "volumes", "words"),
    [
        ((BARE,), (), "no ready node has the task driver docker"),
        ((replace(SMALL, ready=False),), (), "no ready node"),
        ((BIG, SMALL), (on("gone"),), "data lies on node gone, which cannot run it now"),
        ((BIG, replace(SMALL, eligible=False)), (on(SMALL.id),), "data lies on node small, which cannot"),
        ((BIG, SMALL), (on(SMALL.id), on(BIG.id, "v2")), "there are 2 host volumes aivailable-open-webui: v1 on"),
    ],
)
def test_where_it_cannot_run_is_said_before_anything_is_made(nodes: Any, volumes: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_open_webui(nomad(*volumes), Snapshot(nodes=nodes), Settings())


def test_by_a_command_it_needs_no_docker() -> None:
    check_open_webui(nomad(), Snapshot(nodes=(BARE,)), Settings(open_webui_command="open-webui serve"))


def test_the_doctor_names_one_that_is_not_healthy() -> None:
    facts = ClusterFacts(agent=None, controllers=1, gateways=1, leader=True, addons={"open-webui": False})
    (found,) = [finding for finding in judge(facts) if "open-webui" in finding.text]

    assert (found.level, found.text) == (Level.PROBLEM, "open-webui is not healthy")
    assert "nomad job status aivailable-open-webui" in found.hint
    well = judge(replace(facts, addons={"open-webui": True}))
    assert [finding.level for finding in well if "open-webui" in finding.text] == [Level.OK]
