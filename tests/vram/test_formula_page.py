"""docs/vram-formula.md cannot drift: its constants, its hand computations and the code's footprints are the same."""

import re
from dataclasses import asdict, replace
from importlib import import_module
from math import ceil
from pathlib import Path

import pytest

from aivailable.model.footprint import Footprint
from aivailable.model.profile import Profile
from aivailable.vram.cardtable import find_card
from aivailable.vram.fit import fit
from aivailable.vram.headers import read_profile
from aivailable.vram.vllm_terms import GRAPHS_SIZES
from tests.samples import EIGHT_B
from tests.weights import smollm2

PAGE = (Path(__file__).parents[2] / "docs" / "vram-formula.md").read_text()
QWEN = replace(EIGHT_B, intermediate_size=12288)
"""The profile whose numbers the page gives: Qwen3-8B with its MLP's width."""


def example(heading: str) -> dict[str, tuple[str, str, int]]:
    """The rows of the example's table: term -> (expression, unit, MiB)."""
    section = PAGE.partition(f"## Example: {heading}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| `(.+?)` \| (bytes|MiB) \| (\d+) \|$", section, re.MULTILINE)
    return {term: (expression, unit, int(mib)) for term, expression, unit, mib in rows}


def by_hand(expression: str, unit: str) -> int:
    """What the page's own arithmetic gives, in MiB."""
    value = eval(expression, {"__builtins__": {}}, {"round": round, "max": max})
    return ceil(value / 2**20) if unit == "bytes" else round(value)


def smollm2_need() -> Footprint:
    return fit(read_profile(smollm2()), find_card("gtx 1080"), context=2048, concurrency=4).footprint


def qwen_need() -> Footprint:
    return fit(QWEN, find_card("rtx 3090"), context=8192, concurrency=2).footprint


@pytest.mark.parametrize(("heading", "need"), [("llama.cpp", smollm2_need), ("vLLM", qwen_need)])
def test_an_example_by_hand_is_what_the_code_computes(heading: str, need: object) -> None:
    assert callable(need)
    found: Footprint = need()
    computed = {name.removesuffix("_mib"): size for name, size in asdict(found).items()}
    rows = example(heading)

    assert {term: mib for term, (_, _, mib) in rows.items()} == {**computed, "claim": found.claim_mib}
    for term, (expression, unit, mib) in rows.items():
        assert by_hand(expression, unit) == mib, term


def test_the_facts_that_the_examples_name_are_the_files() -> None:
    small = read_profile(smollm2())

    assert (small.weights_bytes, small.input_embedding_bytes) == (96_576_768, 0)
    assert facts(small) == (30, 3, 64, 576, 1536, 49152)
    assert QWEN.weights_bytes == 8_190_735_360 * 2
    assert facts(QWEN) == (36, 8, 128, 4096, 12288, 151936)


def facts(profile: Profile) -> tuple[int, ...]:
    return (
        profile.layers,
        profile.kv_heads,
        profile.key_size,
        profile.hidden_size,
        profile.intermediate_size,
        profile.vocabulary,
    )


def test_what_is_booked_is_what_the_page_says() -> None:
    for heading, need, card in (("llama.cpp", smollm2_need(), "gtx 1080"), ("vLLM", qwen_need(), "rtx 3090")):
        known = find_card(card)
        slices = known.slices_for(need.claim_mib)
        text = f"It books {slices} slices, {slices * known.slice_mib:,} of {known.total_mib:,} MiB."
        assert text in PAGE.partition(f"## Example: {heading}")[2].partition("\n## ")[0]


def test_every_constant_of_the_page_is_the_codes() -> None:
    rows = re.findall(r"^\| `(\w+)\.([A-Z_]+)` \| ([\d.]+) \|", PAGE, re.MULTILINE)
    assert len(rows) >= 15
    for module, name, value in rows:
        assert getattr(import_module(f"aivailable.vram.{module}"), name) == float(value), name
    assert f"captured sizes / {len(GRAPHS_SIZES)}," in PAGE


def test_the_picture_in_the_page_of_fit_has_todays_numbers() -> None:
    shown = (Path(__file__).parents[2] / "docs" / "verbs" / "fit.md").read_text()
    need = fit(read_profile(smollm2()), find_card("gtx 1080"), context=8192, concurrency=8).footprint
    lines = {name.removesuffix("_mib"): size for name, size in asdict(need).items()} | {"claim": need.claim_mib}
    for term, size in lines.items():
        assert re.search(rf"^{term} +{size} MiB", shown, re.MULTILINE), term
