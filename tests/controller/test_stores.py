"""The fleet and the journal in the key-value store."""

from pathlib import Path

import pytest

from aivailable.controller.fleetstore import describe_changes, read_fleet, write_fleet
from aivailable.controller.journal import SIZE_MAX_BYTES, Decision, read_decisions, record
from aivailable.controller.resolve import resolve, with_absolute_paths
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.sources import LocalSources
from aivailable.errors import UserError
from aivailable.model.fleet import Variant
from aivailable.model.service import EVENTS_KEY
from aivailable.model.source import parse_source
from tests.samples import fleet, model
from tests.weights import write_gguf


def test_the_second_of_two_writers_is_told_what_changed(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    seen = read_fleet(registry)
    write_fleet(registry, fleet(model("a")), seen=seen)

    with pytest.raises(UserError, match="a added") as caught:
        write_fleet(registry, fleet(model("b")), seen=seen)
    assert "yours was not written" in caught.value.message
    assert read_fleet(registry).fleet == fleet(model("a"))


def test_changes_are_described_by_model_and_field() -> None:
    before = fleet(model("a"), model("b"))
    after = fleet(model("b", replicas=2, context=99), model("c"))

    assert describe_changes(before, after) == ["a removed", "b changed (replicas, context)", "c added"]


def test_the_journal_drops_its_oldest_entries_beyond_its_size(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    for number in range(3):
        record(registry, [Decision(at_s=number, model="m", replica=i, text="x" * 1000) for i in range(150)])

    entry = registry.get(EVENTS_KEY)
    assert entry is not None
    assert len(entry.value) <= SIZE_MAX_BYTES
    kept = read_decisions(registry)
    assert kept[-1] == Decision(at_s=2, model="m", replica=149, text="x" * 1000)
    assert 150 < len(kept) < 300


def test_sources_are_resolved_once_with_checksum_and_profile(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    wanted = with_absolute_paths(fleet(model(variants=(Variant(source="./m.gguf"),))), tmp_path)

    made = resolve(wanted, LocalSources())

    resolved = made.models[0].variants[0].resolved
    assert resolved is not None
    assert resolved.path == str(tmp_path / "m.gguf")
    assert len(resolved.sha256) == 64
    assert resolve(made, LocalSources()) == made


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("./nope.gguf", "no such file or folder"),
        ("package:no-such-package/x.gguf", "package no-such-package is not installed"),
        ("package:pytest/x.gguf", "has no file x.gguf"),
        ("hf:a/b", "cannot be used on the embedded cluster"),
    ],
)
def test_a_source_that_cannot_be_found_names_the_model(source: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(fleet(model("big", variants=(Variant(source=source),))), LocalSources())
    assert "model big" in caught.value.message
    assert part in caught.value.message
    assert caught.value.hint


def test_a_folder_has_one_checksum_for_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    first = LocalSources().locate(parse_source(str(tmp_path))).sha256
    (tmp_path / "model.safetensors").write_bytes(b"y")

    assert LocalSources().locate(parse_source(str(tmp_path))).sha256 != first
