"""What `aivailable fit` shows: one card, many, cards at hand; on wide and narrow terminals."""

import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from aivailable.cli.fit_view import card_view, cards_view, command_lines, fit_document
from aivailable.cli.main import main
from aivailable.embedded.agent import Agent
from aivailable.model.cards import Card
from aivailable.model.profile import Profile
from aivailable.vram.cardtable import find_card, known_cards, with_memory
from aivailable.vram.fit import Fit, Verdict, fit
from tests.embedded.jobs import nodes
from tests.samples import EIGHT_B, SMALL
from tests.weights import write_gguf

TERMS = ("weights", "kv", "activation", "graphs", "context", "margin", "claim", "card")


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def shown(view: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=StringIO(), highlight=False, no_color=True)
    console.print(view)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def on(name: str, profile: Profile = EIGHT_B, *, context: int = 8192, concurrency: int = 2) -> Fit:
    return fit(profile, find_card(name), context=context, concurrency=concurrency)


def card_lines(one: Fit, width: int) -> list[str]:
    return shown(card_view(one, EIGHT_B, width=width), width)


@pytest.mark.parametrize("width", [120, 80, 40])
def test_the_claim_is_a_bar_of_its_terms_one_after_the_other(width: int) -> None:
    lines = card_lines(on("RTX 3090"), width)
    bars = {line.split()[0]: line for line in lines if line.split()[:1] and line.split()[0] in TERMS and " MiB" in line}

    assert tuple(bars) == TERMS
    assert max(map(len, lines)) <= width
    ends = [bars[name].rfind("█") for name in ("weights", "kv", "margin", "claim")]
    assert ends == sorted(ends)
    assert abs(ends[2] - ends[3]) <= 1
    assert bars["kv"].index("█") == bars["weights"].rfind("█") + 1
    assert ends[3] < bars["card"].rfind("░")


def test_one_card_says_how_far_one_could_go_and_how_its_engine_starts() -> None:
    one = on("RTX 3090")
    text = "\n".join(card_lines(one, 120))

    assert text.startswith("fits on NVIDIA GeForce RTX 3090: books ")
    assert f"largest context at concurrency 2: {one.context_max}\n" in text
    assert f"largest concurrency at context 8192: {one.concurrency_max}" in text
    assert command_lines(one).splitlines()[1:] == ["vllm in vllm/vllm-openai:v0.32.0", " ".join(one.flags)]
    assert "all the model was made for" in "\n".join(card_lines(on("A100-SXM4-80GB"), 120))


def test_why_not_and_what_would_make_it_fit() -> None:
    assert "would help: --context " in "\n".join(card_lines(on("RTX 3090", concurrency=8), 200))
    refused = card_lines(on("GTX 1080"), 200)
    assert refused[0].startswith("unsupported on NVIDIA GeForce GTX 1080: vllm needs compute capability 7.5")
    assert refused[1] == "source: vllm#963, #1284; PRs #2635 and #4290 closed unmerged"
    assert "instead: a GGUF variant runs under llama.cpp" in refused
    assert not any(line.startswith("claim") for line in refused)


def table_of(cards: Sequence[Card], width: int) -> list[str]:
    fits = [fit(EIGHT_B, card, context=8192, concurrency=8) for card in cards]
    return shown(cards_view(fits, {}, width=width), width)


@pytest.mark.parametrize("width", [120, 80, 76, 75, 40])
def test_every_card_is_one_whole_line_on_any_terminal(width: int) -> None:
    lines = table_of(known_cards(), width)

    assert max(map(len, lines)) <= width
    rows = lines[1 : lines.index("")]
    assert len(rows) == len(known_cards())
    assert all("fits" in row or "too big" in row or "unsupported" in row for row in rows)
    assert not any("…" in row.partition("  ")[2] for row in rows)  # names may be cut, figures may not
    assert lines[0].endswith("Requests") is (width >= 76)


def test_below_the_table_each_rule_stands_once_with_the_cards_it_meets() -> None:
    text = "\n".join(table_of(known_cards(), 300))

    assert "unsupported (25 cards: 5.0, 5.2, 6.0, 6.1): Pascal and Maxwell were never official in vLLM; a GGUF" in text
    assert "unsupported (2 cards): vllm does not run on gfx906 (Triton does not run there)" in text
    assert text.splitlines()[-1].startswith("145 kinds of card: ")


def test_the_document_holds_every_field_whatever_the_verdict() -> None:
    documents = [
        fit_document("hf:x", one) for one in (on("RTX 3090"), on("RTX 3090", concurrency=8), on("GTX 1080"), on("B300"))
    ]

    assert [document["verdict"] for document in documents] == ["fits", "too big", "unsupported", "unsupported"]
    for document in documents:
        terms = document["terms"]
        assert isinstance(terms, dict)
        assert document["claim_mib"] == sum(terms.values())
        assert bool(document["flags"]) is bool(document["image"]) is (document["verdict"] == "fits")
        assert bool(document["would_help"]) is bool(document["rule_source"]) is (document["verdict"] != "fits")
    assert documents[0].keys() == documents[3].keys()


def test_a_known_card_with_other_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_gguf(tmp_path / "m.gguf"))

    assert run("fit", source, "--card", "4060 ti") == 0
    captured = capsys.readouterr()
    assert "of 15872 MiB" in captured.out
    assert "also report 8188 MiB: --vram-mib 8188" in captured.err
    assert run("fit", source, "--card", "4060 ti", "--vram-mib", "8188", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["card"], document["total_mib"]) == ("NVIDIA GeForce RTX 4060 Ti", 8188)
    assert run("fit", source, "--card", "8060s") == 2
    captured = capsys.readouterr()
    assert "how much memory this card has is not known" in captured.out
    assert "unified" in captured.err
    assert run("fit", source, "--card", "8060s", "--vram-mib", "59392") == 0


def test_cards_at_hand_come_first_and_tell_their_own_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write_gguf(tmp_path / "m.gguf"))
    monkeypatch.setenv("AIVAILABLE_STATE", str(tmp_path / "state"))
    rack = nodes()
    mine = with_memory(replace(rack[0].cards[0], name="Tesla T4", simulated=False, compute_capability=7.5), 15109)
    rack = (replace(rack[0], cards=(mine, replace(mine, uuid="second", index=1))), *rack[1:])
    with Agent(tmp_path / "state", rack):
        assert run("--cluster", "embedded", "fit", source, "--json") == 0
        at_hand = json.loads(capsys.readouterr().out)
        assert run("--cluster", "embedded", "fit", source, "--card", "t4", "--json") == 0
        one = json.loads(capsys.readouterr().out)
        assert run("--cluster", "embedded", "fit", source, "--card", "rtx 5090", "--json") == 0
        assert json.loads(capsys.readouterr().out)["card"] == "NVIDIA GeForce RTX 5090"

    assert next(d["count"] for d in at_hand if d["card"] == "Tesla T4") == 2
    assert len(at_hand) == len({(d["card"], d["total_mib"]) for d in at_hand})
    assert one["total_mib"] == 15109


def test_mistakes_are_told_without_our_own_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", str(tmp_path / "none.gguf")) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/none.gguf: no such file or folder")
    assert run("fit", "foo:bar") == 2
    assert "source 'foo:bar': expected hf:ORG/NAME" in capsys.readouterr().err


def test_without_the_cluster_that_is_named_it_says_what_needs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write_gguf(tmp_path / "m.gguf"))
    monkeypatch.setenv("NOMAD_ADDR", "http://127.0.0.1:9")

    assert run("fit", source) == 1
    assert "--card and --all-cards need no cluster" in capsys.readouterr().err
    assert run("fit", source, "--card", "Tesla T4") == 0


def test_small_cards_are_shown_whole() -> None:
    tight = fit(SMALL, with_memory(find_card("gtx 750 ti"), 512), context=8192, concurrency=8)
    assert tight.verdict is Verdict.TOO_BIG
    lines = shown(card_view(tight, SMALL, width=40), 40)
    assert max(map(len, lines)) <= 40
