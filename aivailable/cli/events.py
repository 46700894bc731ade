"""`aivailable events`: what happened, and what was decided."""

import json
from dataclasses import asdict

import click

from aivailable.cli.connection import connect
from aivailable.cli.console import out
from aivailable.cli.views import events_view
from aivailable.controller.history import Happened, history

KEPT = 1000
WAIT_S = 1.0


@click.command("events")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many.")
@click.option("-f", "--follow", "follow_", is_flag=True, help="Keep printing until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def command(cluster: str | None, limit: int, *, follow_: bool, as_json: bool) -> None:
    """Print what happened in the cluster and what the controller decided, oldest first."""
    connection = connect(cluster)
    shown: frozenset[Happened] = frozenset()
    entries = history(connection.cluster, connection.registry, limit=limit)
    index = 0
    while True:
        _print([entry for entry in entries if entry not in shown], as_json=as_json)
        if not follow_:
            return
        shown = frozenset(history(connection.cluster, connection.registry, limit=KEPT))
        index = connection.cluster.changed(index, WAIT_S)
        entries = history(connection.cluster, connection.registry, limit=KEPT)


def _print(entries: list[Happened], *, as_json: bool) -> None:
    if as_json:
        for entry in entries:
            click.echo(json.dumps(asdict(entry)))
    elif entries:
        out.print(events_view(entries))
