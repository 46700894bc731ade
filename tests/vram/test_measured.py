"""Which measurements count, and what a footprint is with them."""

from dataclasses import replace

from aivailable.model.fleet import Engine
from aivailable.model.footprint import Footprint
from aivailable.model.measurement import Conditions, Measurement
from aivailable.vram.fit import judge
from aivailable.vram.footprint import footprint
from aivailable.vram.launch import planned
from aivailable.vram.margin import OTHER_MIB
from aivailable.vram.measured import MARGIN_MIB, conditions_of, correct
from tests.samples import EIGHT_B, card

A100 = card("A100", 40960, node="n", compute_capability=8.0)
LAUNCH = planned(engine=Engine.VLLM, card=A100, context=8192, concurrency=8)
ESTIMATE = footprint(EIGHT_B, LAUNCH)
HERE = conditions_of(LAUNCH, "a" * 64, ())


def seen(conditions: Conditions = HERE, *, alloc: str = "a1", at_s: float = 1.0, **mib: int) -> Measurement:
    return Measurement(conditions=conditions, alloc=alloc, at_s=at_s, **mib)


def test_measured_terms_replace_the_estimate_with_a_smaller_margin() -> None:
    found = correct(ESTIMATE, HERE, [seen(weights_mib=15_640, activation_mib=260, graphs_mib=90, kv_mib=9218)])

    assert found.terms == ("weights", "activation", "graphs")
    now = found.footprint
    assert (now.weights_mib, now.activation_mib, now.graphs_mib) == (15_640, 260, 90)
    assert now.kv_mib == ESTIMATE.kv_mib
    # What no log tells stays covered: the driver was not asked.
    assert now.margin_mib == round(0.02 * (15_640 + 260 + 90)) + OTHER_MIB < ESTIMATE.margin_mib


def test_nothing_measured_changes_nothing() -> None:
    assert correct(ESTIMATE, HERE, []).footprint == ESTIMATE
    assert correct(ESTIMATE, HERE, [seen()]).footprint == ESTIMATE


def test_another_version_card_file_or_flag_makes_it_stale() -> None:
    for stale in (
        replace(HERE, image="vllm/vllm-openai:v0.31.0"),
        replace(HERE, card="A40"),
        replace(HERE, sha256="b" * 64),
        replace(HERE, flags=("--enforce-eager",)),
        replace(HERE, cards=2),
        replace(HERE, simulated=True),
    ):
        assert correct(ESTIMATE, HERE, [seen(stale, weights_mib=15_000, activation_mib=1)]).footprint == ESTIMATE


def test_weights_are_the_same_for_any_context_and_concurrency() -> None:
    other = replace(HERE, context=512, concurrency=1)
    found = correct(ESTIMATE, HERE, [seen(other, weights_mib=15_000, activation_mib=999)])

    assert found.terms == ("weights",)
    assert found.footprint == replace(ESTIMATE, weights_mib=15_000)


def test_outliers_count_only_when_three_allocations_show_them() -> None:
    far = 3 * ESTIMATE.weights_mib
    odd = [seen(weights_mib=far, alloc=f"a{n}", at_s=n) for n in range(2)]

    assert correct(ESTIMATE, HERE, odd).terms == ()
    assert correct(ESTIMATE, HERE, [*odd, odd[0]]).terms == ()  # the same allocation twice
    assert correct(ESTIMATE, HERE, [*odd, seen(weights_mib=far, alloc="a9", at_s=9)]).footprint.weights_mib == far


def test_the_largest_of_the_newest_counts() -> None:
    old = seen(weights_mib=15_900, at_s=0)
    newer = [seen(weights_mib=15_000 + n, at_s=n) for n in range(1, 7)]

    assert correct(ESTIMATE, HERE, [old, *newer]).footprint.weights_mib == 15_006


def test_what_the_driver_says_raises_the_process_context() -> None:
    terms = {"weights_mib": 15_640, "activation_mib": 260, "graphs_mib": 90, "kv_mib": 9218}
    found = correct(ESTIMATE, HERE, [seen(**terms, held_mib=sum(terms.values()) + 900)])

    assert found.footprint.context_mib == 900
    assert found.footprint.margin_mib == round(0.02 * (15_640 + 260 + 90)) + MARGIN_MIB
    low = correct(ESTIMATE, HERE, [seen(**terms, held_mib=sum(terms.values()) - 900)])
    assert low.footprint.context_mib == ESTIMATE.context_mib


def test_the_verdict_uses_them() -> None:
    measured = [seen(weights_mib=20_000, activation_mib=260, graphs_mib=90)]
    found = judge(EIGHT_B, A100, 8192, 8, measured=measured)

    assert found.measured == ("weights", "activation", "graphs")
    assert found.footprint is not None
    assert found.footprint.weights_mib == 20_000
    assert isinstance(found.footprint, Footprint)
    assert found.need_mib > judge(EIGHT_B, A100, 8192, 8).need_mib
