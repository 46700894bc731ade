"""`aivailable fit`: does this model run on that card, and what would it take?"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click

from aivailable.cli.connection import connect, is_real, read_settings
from aivailable.cli.console import notes, out
from aivailable.cli.fit_view import card_view, cards_view, command_lines, fit_document
from aivailable.cli.telling import Teller
from aivailable.controller.measuring import Measurements
from aivailable.controller.sources import Sources
from aivailable.embedded.state import is_running
from aivailable.errors import RetryableError, UserError
from aivailable.model.cards import Card
from aivailable.model.measurement import Measurement
from aivailable.model.source import parse_source
from aivailable.seams import Located
from aivailable.settings import Settings
from aivailable.vram.cardtable import card_of_size, find_known, known_cards, with_memory
from aivailable.vram.fit import Verdict, fit
from aivailable.vram.headers import read_profile

DEFAULT_CONTEXT = 8192

SAME = 0.05
"""Sizes that differ by less (by driver version) are not worth telling apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The cards asked about, each kind once: `counts` by uuid, `where` they come from, `notes` about them."""

    cards: tuple[Card, ...]
    where: str
    counts: Counter[str]
    notes: tuple[str, ...] = ()


@click.command("fit")
@click.argument("source")
@click.option("--card", "card_name", help="A card by its name, or part of it; need not be at hand.")
@click.option("--vram-mib", type=click.IntRange(min=512), help="A card of so many MiB; with --card, that card's.")
@click.option("--all-cards", is_flag=True, help="Every card that is known.")
@click.option("--context", type=click.IntRange(min=16), help="Tokens one request may use [default: 8192 or less].")
@click.option("--concurrency", type=click.IntRange(min=1), default=8, show_default=True, help="Requests held at once.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def command(
    cluster: str | None,
    source: str,
    card_name: str | None,
    vram_mib: int | None,
    context: int | None,
    concurrency: int,
    *,
    all_cards: bool,
    as_json: bool,
) -> None:
    """Say whether SOURCE fits a card, with its footprint by term and the engine's flags.

    Without an option: the cards of the running cluster, else every card that is known. Exit code 2 when it fits none.
    """
    asked = _asked(cluster, card_name, vram_mib, all_cards=all_cards)
    located = _located(source, read_settings(cluster))
    profile, measured = read_profile(located.path), _measured(cluster, located.sha256)
    wanted = context or min(DEFAULT_CONTEXT, profile.context_limit)
    fits = [fit(profile, card, context=wanted, concurrency=concurrency, measured=measured) for card in asked.cards]
    if as_json:
        documents = [fit_document(source, one, asked.counts[one.card.uuid]) for one in fits]
        click.echo(json.dumps(documents[0] if card_name or vram_mib else documents, indent=2))
    elif len(fits) == 1:
        out.print(card_view(fits[0], profile, width=out.width))
        if fits[0].flags:
            out.print(command_lines(fits[0]), soft_wrap=True, markup=False)
    else:
        notes.print(f"{source}: context {wanted}, concurrency {concurrency}; {asked.where}")
        out.print(cards_view(fits, asked.counts, width=out.width))
    if not as_json:
        for note in asked.notes:
            notes.print(f"note: {note}")
    if all(one.verdict is not Verdict.FITS for one in fits):
        raise SystemExit(UserError.exit_code)


def _asked(cluster: str | None, card_name: str | None, vram_mib: int | None, *, all_cards: bool) -> Asked:
    if all_cards and (card_name is not None or vram_mib is not None):
        raise UserError("--all-cards and --card or --vram-mib exclude each other", hint="give one of them")
    if card_name is not None:
        return _named(cluster, card_name, vram_mib)
    if vram_mib is not None:
        return Asked(cards=(card_of_size(vram_mib),), where="any card", counts=Counter())
    try:
        found = () if all_cards else _at_hand(cluster)
    except RetryableError as error:
        raise RetryableError(error.message, hint=f"{error.hint}; --card and --all-cards need no cluster") from error
    if found:
        by_kind = {_kind(card): card for card in reversed(found)}
        counts = Counter(by_kind[_kind(card)].uuid for card in found)
        simulated = ("these cards are simulated: engines on them run on the CPU",) if found[0].simulated else ()
        return Asked(cards=tuple(by_kind.values()), where="cards at hand", counts=counts, notes=simulated)
    return Asked(cards=known_cards(), where="every card that is known", counts=Counter())


def _named(cluster: str | None, name: str, vram_mib: int | None) -> Asked:
    """The card of that name: one at hand, whose driver tells its memory, before the table's."""
    try:
        found = [card for card in _at_hand(cluster) if name.lower() in card.name.lower()]
    except RetryableError:
        found = []
    if found and vram_mib is None:
        card = min(found, key=lambda c: len(c.name))
        return Asked(cards=(card,), where="at hand", counts=Counter())
    known = find_known(name)
    if vram_mib is not None:
        return Asked(cards=(with_memory(known.card, vram_mib),), where="as given", counts=Counter())
    other = known.other_mib is not None and abs(known.other_mib - known.card.total_mib) > SAME * known.card.total_mib
    told = [known.note] if known.note and (other or not known.card.total_mib) else []
    if other:
        told.append(f"cards of this name also report {known.other_mib} MiB: --vram-mib {known.other_mib}")
    return Asked(cards=(known.card,), where="known", counts=Counter(), notes=tuple(told))


def _at_hand(cluster: str | None) -> tuple[Card, ...]:
    """The cards of the running cluster; none where no cluster runs."""
    if not is_real(cluster) and not is_running(read_settings(cluster).state):
        return ()
    snapshot = connect(cluster).cluster.snapshot()
    return tuple(card for node in snapshot.nodes for card in node.cards)


def _kind(card: Card) -> tuple[object, ...]:
    return (card.vendor, card.name, card.total_mib, card.compute_capability, card.gfx, card.device_type, card.simulated)


def _measured(cluster: str | None, sha256: str) -> tuple[Measurement, ...]:
    """What engines of the running cluster were seen to hold with these files; nothing where no cluster answers."""
    if not is_real(cluster) and not is_running(read_settings(cluster).state):
        return ()
    try:
        return tuple(m for m in Measurements(connect(cluster).registry).read() if m.conditions.sha256 == sha256)
    except RetryableError:
        return ()


def _located(source: str, settings: Settings) -> Located:
    """Where the model's headers lie."""
    path = Path(source).expanduser()
    try:
        parsed = parse_source(str(path.absolute()) if path.exists() else source)
    except ValueError as error:
        raise UserError(f"source {source!r}: {error}", hint="or name a file, or a folder with safetensors") from error
    return Sources(settings, progress=Teller()).locate(parsed)
