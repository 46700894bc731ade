"""`aivailable nodes`: the rack, card by card."""

import json

import click

from aivailable.cli.connection import connect
from aivailable.cli.console import notes, out
from aivailable.cli.views import nodes_view
from aivailable.controller.observe import observe
from aivailable.documents import snapshot_document


@click.command("nodes")
@click.option("--json", "as_json", is_flag=True, help="Print nodes and replicas as a snapshot file.")
@click.pass_obj
def command(cluster: str | None, *, as_json: bool) -> None:
    """Show every node with its cards and how much of them is booked."""
    connection = connect(cluster)
    snapshot = observe(connection.cluster, connection.registry)
    if as_json:
        click.echo(json.dumps(snapshot_document(snapshot), indent=2))
        return
    out.print(nodes_view(snapshot))
    if snapshot.simulated:
        notes.print("These cards are simulated: engines run on the CPU.")
