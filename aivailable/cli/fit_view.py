"""How the answers of `aivailable fit` look: one card with its bar, many cards as a table, JSON."""

import re
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aivailable.documents import footprint_terms
from aivailable.model.profile import Profile
from aivailable.vram.fit import Fit, Verdict

STYLE = {Verdict.FITS: "green", Verdict.TOO_BIG: "yellow", Verdict.UNSUPPORTED: "red"}

BAR_MAX = 48
"""Columns of the longest bar."""

LABELS_WIDTH = 24
"""Columns that a term's name and its MiB take beside the bar."""

OTHERS_WIDE, OTHERS_NARROW = 53, 29
"""Columns of that table beside the card's name: with and without how far one could go."""

_MAKER = re.compile(r"^(NVIDIA (GeForce )?|AMD (Radeon |Instinct )?)")
"""What stands before the part of a card's name that tells it from others."""

WIDE = 76
"""From so many columns on, the table of cards says how far one could go as well."""


def fit_document(source: str, one: Fit, count: int = 0) -> dict[str, object]:
    """The form of `fit --json`; `count` is how many such cards are at hand (0: it is not at hand)."""
    judgement = one.judgement
    return {
        "source": source,
        "card": one.card.name,
        "engine": judgement.engine.value,
        "verdict": one.verdict.value,
        "expected_mib": one.footprint.expected_mib,
        "claim_mib": one.footprint.claim_mib,
        "terms": footprint_terms(one.footprint),
        "flags": list(one.flags),
        "reason": judgement.reason,
        "rule": judgement.rule,
        "rule_source": judgement.source,
        "measured": list(judgement.measured),
        "would_help": list(one.would_help),
        "notes": list(one.notes),
        "image": one.image,
        "total_mib": one.card.total_mib,
        "booked_mib": judgement.slices * one.card.slice_mib,
        "short_mib": judgement.short_mib,
        "context": one.context,
        "concurrency": one.concurrency,
        "context_max": one.context_max,
        "concurrency_max": one.concurrency_max,
        "count": count,
    }


def card_view(one: Fit, profile: Profile, *, width: int) -> RenderableType:
    """One card: the verdict, the claim by term as a bar, how far one could go, what would help."""
    judgement = one.judgement
    parts: list[RenderableType] = [
        Text.assemble((one.verdict.value, f"bold {STYLE[one.verdict]}"), f" on {one.card.name}: {judgement.reason}")
    ]
    if judgement.source and one.verdict is Verdict.UNSUPPORTED:
        parts.append(Text(f"source: {judgement.source}", style="bright_black"))
    if judgement.footprint:
        parts += [Text(""), _bars(one, width)]
        if judgement.measured:
            parts.append(Text(f"measured on a running replica: {', '.join(judgement.measured)}", style="bright_black"))
    limits = _limits(one, profile)
    parts += [Text(""), *limits] if limits else []
    if one.would_help:
        helps = "would help" if judgement.rule != "engine" else "instead"
        parts += [Text(""), Text(f"{helps}: " + "; or ".join(one.would_help))]
    parts += [Text(f"note: {note}", style="bright_black") for note in one.notes]
    return Group(*parts)


def command_lines(one: Fit) -> str:
    """The image and the flags, to be copied: not folded at the terminal's width."""
    return f"\n{one.judgement.engine} in {one.image}\n{' '.join(one.flags)}"


def cards_view(fits: Sequence[Fit], counts: Mapping[str, int], *, width: int) -> RenderableType:
    """Many cards: one row each, smallest first; below, once each, the rules that forbid some, and the count."""
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False)
    table.add_column(
        "Card", no_wrap=True, overflow="ellipsis", max_width=max(10, width - (OTHERS_WIDE if wide else OTHERS_NARROW))
    )
    table.add_column("Verdict", no_wrap=True)
    table.add_column("MiB", no_wrap=True, justify="right")
    if wide:
        table.add_column("Context", no_wrap=True, justify="right")
        table.add_column("Requests", no_wrap=True, justify="right")
    for one in sorted(fits, key=lambda f: (f.card.total_mib, f.card.name)):
        count = counts.get(one.card.uuid, 0)
        short = one.card.name if wide else _MAKER.sub("", one.card.name)
        name = f"{count} x {short}" if count > 1 else short
        row: list[str | Text] = [name, Text(one.verdict.value, style=STYLE[one.verdict]), _mib(one, wide=wide)]
        if wide:
            row += [str(one.context_max or "-"), str(one.concurrency_max or "-")]
        table.add_row(*row)
    parts: list[RenderableType] = [table, Text("")]
    if wide:
        parts.append(Text("Context, Requests: the most that would fit, the other as asked.", style="bright_black"))
    parts += [Text(line) for line in _reasons(fits)]
    tally = [f"{sum(f.verdict is v for f in fits)} {v.value}" for v in Verdict if any(f.verdict is v for f in fits)]
    parts.append(Text(f"{len(fits)} kinds of card: {', '.join(tally)}", style="bold"))
    return Group(*parts)


def _mib(one: Fit, *, wide: bool) -> str:
    """What would be booked, of what the card has."""
    need = "-" if one.verdict is Verdict.UNSUPPORTED else str(one.judgement.need_mib)
    return f"{need}{' of ' if wide else '/'}{one.card.total_mib or '?'}"


def _reasons(fits: Sequence[Fit]) -> list[str]:
    """Each rule that forbids cards, once, with the cards it meets and what would run there."""
    refused: dict[tuple[str, str, tuple[str, ...]], list[Fit]] = {}
    for one in fits:
        if one.verdict is Verdict.UNSUPPORTED:
            refused.setdefault((one.judgement.rule, one.judgement.source, one.would_help), []).append(one)
    return [_reason(members) for members in refused.values()]


def _reason(members: Sequence[Fit]) -> str:
    first = members[0].judgement
    if len({one.judgement.reason for one in members}) == 1:
        which, text = "", first.reason
    else:
        kinds = dict.fromkeys(one.card.gfx or str(one.card.compute_capability) for one in members)
        which, text = ": " + ", ".join(sorted(kinds)), first.why or first.reason
    cards = members[0].card.name if len(members) == 1 else f"{len(members)} cards{which}"
    helps = f"; {members[0].would_help[0]}" if members[0].would_help else ""
    return f"unsupported ({cards}): {text}{helps}"


def _bars(one: Fit, width: int) -> Table:
    """The terms one after the other, each where it would lie on the card; then the claim and the card."""
    terms = [(name.removesuffix("_mib"), mib) for name, mib in footprint_terms(one.footprint).items()]
    claim_mib, total_mib = one.footprint.claim_mib, one.card.total_mib
    columns = max(8, min(BAR_MAX, width - LABELS_WIDTH))
    scale = columns / max(claim_mib, total_mib)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    before_mib = 0
    for name, mib in terms:
        begin, end = round(before_mib * scale), round((before_mib + mib) * scale)
        table.add_row(name, f"{mib} MiB", Text(" " * begin + "█" * (end - begin) + "▏" * (mib > 0 and end == begin)))
        before_mib += mib
    style = STYLE[Verdict.FITS if one.verdict is Verdict.FITS else Verdict.TOO_BIG]
    table.add_row("claim", f"{claim_mib} MiB", Text("█" * round(claim_mib * scale), style=style))
    table.add_row("card", f"{total_mib} MiB", Text("░" * round(total_mib * scale), style="bright_black"))
    return table


def _limits(one: Fit, profile: Profile) -> list[Text]:
    """How far one could go on this card."""
    if one.verdict is Verdict.UNSUPPORTED and not (one.context_max or one.concurrency_max):
        return []
    own = ", all the model was made for" if one.context_max == profile.context_limit else ""
    return [
        Text(f"largest context at concurrency {one.concurrency}: {one.context_max or 'none'}{own}"),
        Text(f"largest concurrency at context {one.context}: {one.concurrency_max or 'none'}"),
    ]
