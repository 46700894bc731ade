"""One model on one card: the verdict, which the planner uses too, and what people ask about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from aivailable.model.cards import Card
from aivailable.model.fleet import Engine
from aivailable.model.footprint import Footprint
from aivailable.model.measurement import Measurement
from aivailable.model.profile import Profile
from aivailable.vram.flags import engine_flags
from aivailable.vram.footprint import footprint
from aivailable.vram.hardware import engine_of, image, notes, refusal
from aivailable.vram.launch import Launch, planned
from aivailable.vram.measured import Corrected, conditions_of, correct

LLAMACPP_SEQUENCES_MAX = 256
"""llama.cpp does not start with more slots: "n_seq_max must be <= 256" (seen with xllamacpp of October 2026)."""

CONCURRENCY_MAX = 1024
"""Where the search for the largest concurrency ends: vLLM's own default of `--max-num-seqs` on large cards."""

CONTEXT_MIN = 16
"""The smallest context that a fleet file accepts, in tokens."""

TENSOR_PARALLEL = (2, 4, 8)
"""Numbers of cards that a replica is spread over: nodes have their cards in powers of two."""


class Verdict(StrEnum):
    """Whether a model runs on a card."""

    FITS = "fits"
    TOO_BIG = "too big"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict for one model on `cards` cards of one kind, however full they are.

    `footprint` is that of one card, and `slices` what it books there; None and 0 where a rule refused before anything
    was computed. `rule` is the short name of the rule that says no (empty when it fits), `reason` a sentence, `why` the
    part of it that holds for all cards, `source` where the rule comes from, `instead` what would run. `need_mib` is
    what one card would have to hold, `short_mib` by how much it is too small. `measured` names the terms of the
    footprint that were measured.
    """

    engine: Engine
    verdict: Verdict
    cards: int
    reason: str
    footprint: Footprint | None = None
    slices: int = 0
    rule: str = ""
    source: str = ""
    instead: str = ""
    why: str = ""
    need_mib: int = 0
    short_mib: int = 0
    measured: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The answer to `aivailable fit` for one card.

    `footprint` is there whatever the verdict; `flags` and `image` only where the model fits. `context_max` is the
    largest context at the wanted concurrency, `concurrency_max` the largest concurrency at the wanted context; 0 where
    there is none. `would_help`: what would make it fit. `notes`: what else should be known of this engine and card.
    """

    card: Card
    judgement: Judgement
    footprint: Footprint
    context: int
    concurrency: int
    context_max: int
    concurrency_max: int
    flags: tuple[str, ...] = ()
    image: str = ""
    would_help: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict."""
        return self.judgement.verdict


def judge(
    profile: Profile,
    card: Card,
    context: int,
    concurrency: int,
    cards: int = 1,
    flags: tuple[str, ...] = (),
    measured: Sequence[Measurement] = (),
) -> Judgement:
    """Whether a model runs on cards like this one when they are empty. Rules are asked before anything is computed.

    Where vLLM's CUDA graphs are all that does not fit, it is judged without them.

    Args:
        profile: What the model's headers say.
        card: The card; of several equal ones, each.
        context: Tokens one request may use.
        concurrency: Requests at full context held at once.
        cards: Equal cards of one node that the model is spread over by tensor parallel.
        flags: The user's own flags for the engine; some change what it holds.
        measured: What engines with these very files were seen to hold.
    """
    engine = engine_of(profile)
    if unfit := refusal(engine, profile, card):
        return _no(engine, cards, unfit.rule, unfit.text, source=unfit.source, instead=unfit.instead, why=unfit.why)
    if context > profile.context_limit:
        text = f"context {context} is more than the {profile.context_limit} it was made for"
        return _no(engine, cards, "context", text, source="the model's own headers")
    if cards > 1 and cards not in degrees(profile):
        return _no(engine, cards, "tensor parallel", f"the model does not divide over {cards} cards under {engine}")
    if card.total_mib <= 0:
        return _no(engine, cards, "card size", "how much memory this card has is not known", source="the card table")
    launch = planned(engine=engine, card=card, context=context, concurrency=concurrency, cards=cards, flags=flags)
    found = _by_size(profile, launch, flags, measured)
    if engine is Engine.LLAMACPP and concurrency > LLAMACPP_SEQUENCES_MAX and _fits(found):
        text = f"concurrency {concurrency} is more than llama.cpp's limit of {LLAMACPP_SEQUENCES_MAX}"
        return _no(engine, cards, "concurrency", text, source="llama.cpp: n_seq_max must be <= 256")
    return found


def fit(profile: Profile, card: Card, *, context: int, concurrency: int, measured: Sequence[Measurement] = ()) -> Fit:
    """Judge a model on an empty card, with all that a person may ask next.

    Args:
        profile: What the model's headers say.
        card: The card.
        context: Tokens one request may use.
        concurrency: Requests at full context held at once.
        measured: What engines with these very files were seen to hold.
    """
    found = judge(profile, card, context, concurrency, measured=measured)
    engine = found.engine
    need = found.footprint or footprint(
        profile, planned(engine=engine, card=card, context=context, concurrency=concurrency)
    )
    fits = found.verdict is Verdict.FITS
    context_max = largest_context(profile, card, concurrency, measured=measured)
    concurrency_max = largest_concurrency(profile, card, context, measured=measured)
    helps = () if fits else _would_help(profile, card, found, context, concurrency, context_max, concurrency_max)
    return Fit(
        card=card,
        judgement=found,
        footprint=need,
        context=context,
        concurrency=concurrency,
        context_max=context_max,
        concurrency_max=concurrency_max,
        flags=engine_flags(profile, engine=engine, card=card, context=context, concurrency=concurrency, footprint=need)
        if fits
        else (),
        image=image(engine, card) if fits else "",
        would_help=helps,
        notes=notes(engine, profile, card),
    )


def largest_context(
    profile: Profile, card: Card, concurrency: int, cards: int = 1, measured: Sequence[Measurement] = ()
) -> int:
    """The most tokens per request that fit at this concurrency; 0 where not even the smallest context does."""

    def good(context: int) -> bool:
        return _fits(judge(profile, card, context, concurrency, cards, measured=measured))

    return _largest(CONTEXT_MIN, profile.context_limit, good)


def largest_concurrency(
    profile: Profile, card: Card, context: int, cards: int = 1, measured: Sequence[Measurement] = ()
) -> int:
    """The most requests of this context that fit at once, 1024 at most; 0 where not even one does."""
    most = LLAMACPP_SEQUENCES_MAX if engine_of(profile) is Engine.LLAMACPP else CONCURRENCY_MAX

    def good(concurrency: int) -> bool:
        return _fits(judge(profile, card, context, concurrency, cards, measured=measured))

    return _largest(1, most, good)


def degrees(profile: Profile) -> tuple[int, ...]:
    """Over how many cards (two or more) vLLM can spread the model; llama.cpp gets one card.

    Attention heads must divide evenly, KV heads divide or are copied (vLLM's verify_with_parallel_config and
    QKVParallelLinear).
    """
    if engine_of(profile) is not Engine.VLLM:
        return ()
    heads, kv_heads = max(1, profile.heads), max(1, profile.kv_heads)
    return tuple(n for n in TENSOR_PARALLEL if heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0))


def _would_help(
    profile: Profile,
    card: Card,
    found: Judgement,
    context: int,
    concurrency: int,
    context_max: int,
    concurrency_max: int,
) -> tuple[str, ...]:
    """The smallest changes that would make it fit, each alone."""
    if found.rule == "context":
        return (f"--context {context_max or profile.context_limit}",)
    if found.rule == "concurrency":
        return (f"--concurrency {concurrency_max}",) if concurrency_max else ()
    if found.verdict is not Verdict.TOO_BIG:
        unknown = found.rule == "card size"
        return ("give its memory with --vram-mib",) if unknown else (found.instead,) if found.instead else ()
    spread = next((n for n in degrees(profile) if _fits(judge(profile, card, context, concurrency, n))), None)
    changes = (
        f"--context {context_max}" if context_max else "",
        f"--concurrency {concurrency_max}" if concurrency_max else "",
        f"{spread} such cards in one node" if spread else "",
        f"a card of {found.need_mib} MiB",
        "" if context_max or concurrency_max else "a smaller model or quantization",
    )
    return tuple(change for change in changes if change)


def _by_size(profile: Profile, launch: Launch, flags: tuple[str, ...], measured: Sequence[Measurement]) -> Judgement:
    """The verdict once every rule has let it pass."""
    engine, card, cards = launch.engine, launch.card, launch.cards

    def need_of(one: Launch) -> Corrected:
        estimate = footprint(profile, one)
        if not measured:
            return Corrected(estimate)
        return correct(estimate, conditions_of(one, measured[0].conditions.sha256, flags), measured)

    corrected, without = need_of(launch), ""
    need = corrected.footprint
    if card.slices_for(need.claim_mib) > card.slices and need.graphs_mib:
        eager = need_of(replace(launch, eager=True)).footprint
        if card.slices_for(eager.claim_mib) <= card.slices:
            need, without = eager, ", without CUDA graphs"
    slices = card.slices_for(need.claim_mib)
    need_mib, whole_mib = slices * card.slice_mib, card.slices * card.slice_mib
    if slices <= card.slices:
        reason = f"books {need_mib} of {whole_mib} MiB{without}"
        return Judgement(
            engine=engine,
            verdict=Verdict.FITS,
            cards=cards,
            reason=reason,
            footprint=need,
            slices=slices,
            need_mib=need_mib,
            measured=corrected.terms,
        )
    return Judgement(
        engine=engine,
        verdict=Verdict.TOO_BIG,
        cards=cards,
        reason=f"needs {need_mib} MiB, {need_mib - whole_mib} more than the whole card has",
        footprint=need,
        slices=slices,
        rule="card size",
        source="the footprint",
        need_mib=need_mib,
        short_mib=need_mib - whole_mib,
        measured=corrected.terms,
    )


def _fits(judgement: Judgement) -> bool:
    return judgement.verdict is Verdict.FITS


def _no(
    engine: Engine, cards: int, rule: str, reason: str, *, source: str = "", instead: str = "", why: str = ""
) -> Judgement:
    return Judgement(
        engine=engine,
        verdict=Verdict.UNSUPPORTED,
        cards=cards,
        rule=rule,
        reason=reason,
        source=source,
        instead=instead,
        why=why,
    )


def _largest(least: int, most: int, good: Callable[[int], bool]) -> int:
    """The largest number from `least` to `most` that is good, where every smaller one is good too; 0: none."""
    if most < least or not good(least):
        return 0
    low, high = least, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    return low
