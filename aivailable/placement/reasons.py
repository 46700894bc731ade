"""Refusals of single cards, gathered into one reason per rule, and what would help."""

from collections.abc import Callable

from aivailable.model.fleet import ModelSpec
from aivailable.model.plan import Nearest, Reason
from aivailable.placement.candidates import Refused
from aivailable.vram.footprint import footprint
from aivailable.vram.support import engine_of

NEAREST_SHOWN = 3
_MEMORY_RULES = ("card size", "free memory")


def reasons(refused: list[Refused]) -> tuple[Reason, ...]:
    """One reason per rule: on how many cards, and the three that came closest."""
    rules = dict.fromkeys(r.rule for r in refused)
    return tuple(_reason(rule, [r for r in refused if r.rule == rule]) for rule in rules)


def would_help(model: ModelSpec, refused: list[Refused]) -> tuple[str, ...]:
    """The smallest changes that would place the model, judged on the cards that only lack memory."""
    short = sorted((r for r in refused if r.rule in _MEMORY_RULES), key=lambda r: (r.short_mib, r.card.uuid))
    if not short:
        limits = {r.profile.context_limit for r in refused if r.rule == "context" and r.profile}
        return (f"context = {max(limits)}",) if limits else ()
    nearest = short[0]
    help_: list[str] = []
    whole_mib = nearest.card.slices * nearest.card.slice_mib
    has_mib = whole_mib if nearest.rule == "card size" else _need_mib(model, nearest) - nearest.short_mib
    if nearest.rule == "free memory":
        help_.append(f"{nearest.short_mib} MiB freed on {nearest.card.name} ({nearest.node.name})")
    help_.append(f"a card with {_need_mib(model, nearest)} MiB free")
    if fewer := _largest(model.concurrency, lambda n: _need_mib(model, nearest, concurrency=n) <= has_mib):
        help_.append(f"concurrency = {fewer} (fits {nearest.card.name} on {nearest.node.name})")
    if shorter := _largest(model.context // 256, lambda n: _need_mib(model, nearest, context=n * 256) <= has_mib):
        help_.append(f"context = {shorter * 256} (fits {nearest.card.name} on {nearest.node.name})")
    return tuple(help_)


def _reason(rule: str, refused: list[Refused]) -> Reason:
    by_card: dict[str, Refused] = {}
    for one in sorted(refused, key=lambda r: (r.short_mib, r.node.name, r.card.index)):
        by_card.setdefault(one.card.uuid, one)
    closest = list(by_card.values())
    return Reason(
        rule=rule,
        count=len(closest),
        text=closest[0].text,
        nearest=tuple(
            Nearest(node=r.node.name, card=r.card.name, short_mib=r.short_mib) for r in closest[:NEAREST_SHOWN]
        ),
    )


def _need_mib(model: ModelSpec, refused: Refused, *, context: int = 0, concurrency: int = 0) -> int:
    if refused.profile is None:
        raise AssertionError("a memory rule is only reached with a profile")
    need = footprint(
        refused.profile,
        engine=engine_of(refused.profile),
        card=refused.card,
        context=context or model.context,
        concurrency=concurrency or model.concurrency,
    )
    return refused.card.slices_for(need.claim_mib) * refused.card.slice_mib


def _largest(below: int, fits: Callable[[int], bool]) -> int:
    """The largest n in 1..below-1 that fits (need grows with n), or 0."""
    low, high = 0, below - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
