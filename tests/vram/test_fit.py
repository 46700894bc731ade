from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivailable.errors import UserError
from aivailable.model.fleet import Engine
from aivailable.vram.cardtable import card_of_size, find_card, find_known, known_cards, with_memory
from aivailable.vram.fit import (
    Judgement,
    Verdict,
    degrees,
    fit,
    judge,
    largest_concurrency,
    largest_context,
)
from aivailable.vram.footprint import footprint
from aivailable.vram.launch import planned
from tests.samples import EIGHT_B, SMALL, card

RTX3090 = card("NVIDIA GeForce RTX 3090", 24576, node="n", compute_capability=8.6)
T4 = card("Tesla T4", 15360, node="n")
GTX = card("NVIDIA GeForce GTX 1080", 8192, node="n", compute_capability=6.1)


def test_what_fits_books_its_claim_in_whole_slices() -> None:
    found = judge(EIGHT_B, RTX3090, 8192, 2)

    assert found.verdict is Verdict.FITS
    assert found.footprint
    assert found.need_mib == found.slices * 512 >= found.footprint.claim_mib
    assert found.reason == f"books {found.need_mib} of 24576 MiB"
    assert (found.rule, found.short_mib) == ("", 0)


def test_what_is_too_big_says_by_how_much() -> None:
    found = judge(EIGHT_B, RTX3090, 8192, 8)

    assert found.verdict is Verdict.TOO_BIG
    assert found.rule == "card size"
    assert found.short_mib == found.need_mib - 24576 > 0
    assert str(found.short_mib) in found.reason


def test_rules_refuse_before_anything_is_computed() -> None:
    found = judge(EIGHT_B, GTX, 8192, 8)

    assert (found.verdict, found.rule, found.footprint) == (Verdict.UNSUPPORTED, "engine", None)
    assert "GGUF" in found.instead


@pytest.mark.parametrize(
    ("found", "rule"),
    [
        (judge(SMALL, T4, 8193, 1), "context"),
        (judge(SMALL, T4, 16, 257), "concurrency"),
        (judge(SMALL, T4, 16, 1, cards=2), "tensor parallel"),
        (judge(SMALL, with_memory(T4, 0), 16, 1), "card size"),
    ],
)
def test_other_rules_that_no_smaller_claim_would_meet(found: Judgement, rule: str) -> None:
    assert (found.verdict, found.rule) == (Verdict.UNSUPPORTED, rule)


def test_where_only_the_graphs_are_too_much_vllm_makes_none() -> None:
    fine = replace(RTX3090, slice_mib=64)
    without = footprint(
        EIGHT_B, replace(planned(engine=Engine.VLLM, card=fine, context=8192, concurrency=2), eager=True)
    )
    tight = with_memory(fine, without.claim_mib + 64)

    found = fit(EIGHT_B, tight, context=8192, concurrency=2)
    assert found.verdict is Verdict.FITS
    assert found.footprint == without
    assert "--enforce-eager" in found.flags
    assert "without CUDA graphs" in found.judgement.reason
    assert judge(EIGHT_B, with_memory(tight, tight.total_mib - 1024), 8192, 2).verdict is Verdict.TOO_BIG


def test_several_cards_hold_what_one_cannot() -> None:
    assert judge(EIGHT_B, T4, 8192, 8).verdict is Verdict.TOO_BIG
    found = judge(EIGHT_B, T4, 8192, 8, cards=2)

    assert (found.verdict, found.cards) == (Verdict.FITS, 2)
    assert degrees(EIGHT_B) == (2, 4, 8)
    assert degrees(replace(EIGHT_B, heads=14, kv_heads=2)) == (2,)
    assert degrees(SMALL) == ()


@given(st.integers(1, 64), st.integers(4_000, 100_000))
def test_the_largest_context_fits_and_one_more_does_not(concurrency: int, vram_mib: int) -> None:
    on = card_of_size(vram_mib)
    most = largest_context(EIGHT_B, on, concurrency)

    if most:
        assert judge(EIGHT_B, on, most, concurrency).verdict is Verdict.FITS
    if most != EIGHT_B.context_limit:
        assert judge(EIGHT_B, on, max(16, most + 1), concurrency).verdict is not Verdict.FITS


@given(st.integers(16, 40_960), st.integers(4_000, 200_000))
def test_the_largest_concurrency_fits_and_one_more_does_not(context: int, vram_mib: int) -> None:
    on = card_of_size(vram_mib)
    most = largest_concurrency(EIGHT_B, on, context)

    if most:
        assert judge(EIGHT_B, on, context, most).verdict is Verdict.FITS
    if most != 1024:
        assert judge(EIGHT_B, on, context, most + 1).verdict is not Verdict.FITS


def test_what_would_help_helps() -> None:
    found = fit(EIGHT_B, RTX3090, context=8192, concurrency=8)

    assert found.would_help == (
        f"--context {found.context_max}",
        f"--concurrency {found.concurrency_max}",
        "2 such cards in one node",
        f"a card of {found.judgement.need_mib} MiB",
    )
    assert judge(EIGHT_B, RTX3090, found.context_max, 8).verdict is Verdict.FITS
    assert judge(EIGHT_B, RTX3090, 8192, found.concurrency_max).verdict is Verdict.FITS
    assert judge(EIGHT_B, card_of_size(found.judgement.need_mib), 8192, 8).verdict is Verdict.FITS
    assert fit(EIGHT_B, GTX, context=8192, concurrency=8).would_help == ("a GGUF variant runs under llama.cpp",)
    assert fit(SMALL, T4, context=9000, concurrency=8).would_help == ("--context 8192",)
    assert fit(SMALL, T4, context=16, concurrency=300).would_help == ("--concurrency 256",)
    small = fit(EIGHT_B, card_of_size(8192), context=8192, concurrency=8)
    assert "a smaller model or quantization" in small.would_help


def test_cards_are_found_by_any_part_of_their_name() -> None:
    assert find_card("gtx  1080").name == "NVIDIA GeForce GTX 1080"
    assert find_card("4060 ti").total_mib == 16380
    assert find_known("4060 ti").other_mib == 8188
    assert find_card("B300").total_mib == 0
    assert len(known_cards()) == 145
    for name in ("gtx 108x", "", "radeon 9000000"):
        with pytest.raises(UserError) as told:
            find_card(name)
        assert "--vram-mib" in told.value.hint
