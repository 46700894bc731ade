"""One model on one card: the verdict, the footprint by term, the flags."""

from dataclasses import dataclass
from enum import StrEnum

from aivailable.model.cards import Card
from aivailable.model.fleet import Engine, Profile
from aivailable.model.footprint import Footprint
from aivailable.vram.flags import engine_flags
from aivailable.vram.footprint import footprint
from aivailable.vram.hardware import engine_of, refusal


class Verdict(StrEnum):
    """Whether a model runs on a card."""

    FITS = "fits"
    TOO_BIG = "too big"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The answer. `reason` says in words what the verdict rests on; `flags` are empty unless it fits."""

    card: Card
    engine: Engine
    verdict: Verdict
    footprint: Footprint
    flags: tuple[str, ...]
    reason: str


def fit(profile: Profile, card: Card, *, context: int, concurrency: int) -> Fit:
    """Judge a model on an empty card.

    Args:
        profile: What the model's headers say.
        card: The card.
        context: Tokens one request may use.
        concurrency: Requests at full context held at once.
    """
    engine = engine_of(profile)
    need = footprint(profile, engine=engine, card=card, context=context, concurrency=concurrency)
    booked_mib, whole_mib = card.slices_for(need.claim_mib) * card.slice_mib, card.slices * card.slice_mib
    verdict = Verdict.UNSUPPORTED
    flags: tuple[str, ...] = ()
    if unfit := refusal(engine, profile, card):
        reason = unfit.text
    elif context > profile.context_limit:
        reason = f"context {context} is more than the {profile.context_limit} it was made for"
    elif booked_mib > whole_mib:
        verdict, reason = Verdict.TOO_BIG, f"needs {booked_mib} MiB, {booked_mib - whole_mib} more than the card has"
    else:
        verdict, reason = Verdict.FITS, f"books {booked_mib} of {whole_mib} MiB"
        flags = engine_flags(
            profile, engine=engine, card=card, context=context, concurrency=concurrency, footprint=need
        )
    return Fit(card=card, engine=engine, verdict=verdict, footprint=need, flags=flags, reason=reason)
