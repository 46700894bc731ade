"""`aivailable fit`: does this model run on that card, and what would it take?"""

import json
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from aivailable.cli.connection import read_settings
from aivailable.cli.console import notes, out
from aivailable.cli.fleet_input import model_from_source
from aivailable.cli.telling import Teller
from aivailable.controller.resolve import resolve
from aivailable.controller.sources import Sources
from aivailable.documents import footprint_terms
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.state import is_running
from aivailable.errors import UserError
from aivailable.model.cards import Card
from aivailable.model.fleet import Fleet, Profile
from aivailable.settings import Settings
from aivailable.vram.cardtable import card_of_size, find_card, known_cards
from aivailable.vram.fit import Fit, Verdict, fit

STYLE = {Verdict.FITS: "green", Verdict.TOO_BIG: "yellow", Verdict.UNSUPPORTED: "red"}
DEFAULT_CONTEXT = 8192


@click.command("fit")
@click.argument("source")
@click.option("--card", "card_name", help="A card by its name, or part of it.")
@click.option("--vram-mib", type=click.IntRange(min=512), help="A card of so many MiB.")
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
    cards = _cards(cluster, card_name, vram_mib, all_cards=all_cards)
    profile = _profile(source, read_settings(cluster))
    wanted = context or min(DEFAULT_CONTEXT, profile.context_limit)
    fits = [fit(profile, card, context=wanted, concurrency=concurrency) for card in cards]
    if as_json:
        documents = [fit_document(source, one) for one in fits]
        click.echo(json.dumps(documents[0] if card_name or vram_mib else documents, indent=2))
    elif len(fits) == 1:
        _show_one(fits[0])
    else:
        notes.print(f"context {wanted}, concurrency {concurrency}")
        out.print(_table(fits))
    if all(one.verdict is not Verdict.FITS for one in fits):
        raise SystemExit(UserError.exit_code)


def fit_document(source: str, one: Fit) -> dict[str, object]:
    """The form of `fit --json`."""
    return {
        "source": source,
        "card": one.card.name,
        "engine": one.engine.value,
        "verdict": one.verdict.value,
        "expected_mib": one.footprint.expected_mib,
        "claim_mib": one.footprint.claim_mib,
        "terms": footprint_terms(one.footprint),
        "flags": list(one.flags),
        "reason": one.reason,
    }


def _cards(cluster: str | None, card_name: str | None, vram_mib: int | None, *, all_cards: bool) -> list[Card]:
    if sum((card_name is not None, vram_mib is not None, all_cards)) > 1:
        raise UserError("--card, --vram-mib and --all-cards exclude each other", hint="give one of them")
    if card_name is not None:
        return [find_card(card_name)]
    if vram_mib is not None:
        return [card_of_size(vram_mib)]
    settings = read_settings(cluster)
    if not all_cards and is_running(settings.state):
        snapshot = EmbeddedCluster(settings.state).snapshot()
        unique = {card.name: card for node in snapshot.nodes for card in node.cards}
        return list(unique.values())
    return list(known_cards())


def _profile(source: str, settings: Settings) -> Profile:
    path = Path(source)
    model = model_from_source(str(path) if path.exists() else source, name="x", replicas=1, context=16, concurrency=1)
    resolved = resolve(Fleet(models=(model,)), Sources(settings, progress=Teller())).models[0].variants[0].resolved
    if resolved is None:
        raise AssertionError("resolve gives every variant a profile")
    return resolved.profile


def _show_one(one: Fit) -> None:
    out.print(Text.assemble((one.verdict.value, f"bold {STYLE[one.verdict]}"), f" on {one.card.name}: {one.reason}"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, mib in footprint_terms(one.footprint).items():
        table.add_row(name.removesuffix("_mib"), f"{mib} MiB")
    table.add_row("expected", f"{one.footprint.expected_mib} MiB")
    table.add_row("claim", f"{one.footprint.claim_mib} MiB")
    out.print(table)
    if one.flags:
        out.print(f"{one.engine} " + " ".join(one.flags), soft_wrap=True)


def _table(fits: list[Fit]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("Card", "Verdict", "Engine", "Why"):
        table.add_column(heading, no_wrap=heading != "Why", overflow="ellipsis")
    for one in sorted(fits, key=lambda f: (f.card.total_mib, f.card.name)):
        table.add_row(one.card.name, Text(one.verdict.value, style=STYLE[one.verdict]), one.engine.value, one.reason)
    return table
