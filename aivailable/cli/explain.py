"""`aivailable explain`: every card's answer for one model."""

from collections.abc import Sequence
from dataclasses import replace

import click
from rich.table import Table
from rich.text import Text

from aivailable.cli.connection import connect
from aivailable.cli.console import out
from aivailable.cli.stop import require_model
from aivailable.cli.views import events_view, replicas_view
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.history import history
from aivailable.controller.observe import observe
from aivailable.model.fleet import Fleet
from aivailable.placement.answers import Answer, answers

EVENTS_SEARCHED = 1000
EVENTS_SHOWN = 10


@click.command("explain")
@click.argument("model")
@click.pass_obj
def command(cluster: str | None, model: str) -> None:
    """Say for MODEL where its replicas are, what happened to them, and of every card why it can or cannot take one."""
    connection = connect(cluster)
    fleet = read_fleet(connection.registry).fleet
    require_model(fleet, model)
    spec = next(m for m in fleet.models if m.name == model)
    snapshot = observe(connection.cluster, connection.registry)
    mine = tuple(replica for replica in snapshot.replicas if replica.model == model)
    out.print(replicas_view(Fleet(models=(spec,)), replace(snapshot, replicas=mine)))
    out.print(Text("\nOne more replica, card by card", style="bold"))
    out.print(_cards_table(answers(fleet, spec, snapshot), several=len(spec.variants) > 1))
    about = f"{spec.slug} #"
    entries = [
        e
        for e in history(connection.cluster, connection.registry, limit=EVENTS_SEARCHED)
        if e.about.startswith((about, f"{model} #"))
    ]
    out.print(Text("\nWhat happened to it", style="bold"))
    out.print(events_view(entries[-EVENTS_SHOWN:]))


def _cards_table(found: Sequence[Answer], *, several: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("Node", "Card", *(("Variant",) if several else ()), "Answer"):
        table.add_column(heading, no_wrap=heading == "Node", overflow="fold")
    for answer in found:
        variant = (answer.variant.source,) if several else ()
        table.add_row(answer.node.name, answer.card.name, *variant, _told(answer))
    return table


def _told(answer: Answer) -> Text:
    if answer.takes:
        return Text(answer.text, style="green")
    short = f"; {answer.short_mib} MiB short" if answer.short_mib else ""
    return Text(f"{answer.rule}: {answer.text}{short}", style="yellow")
