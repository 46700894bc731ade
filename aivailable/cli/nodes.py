"""`aivailable nodes`: the rack, card by card."""

import json

import click

from aivailable.cli.connection import connect
from aivailable.cli.console import notes, out
from aivailable.cli.rack_view import rack_view
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.observe import observe
from aivailable.controller.picture import rack_picture
from aivailable.documents import snapshot_document


@click.command("nodes")
@click.option("--json", "as_json", is_flag=True, help="Print nodes and replicas as a snapshot file.")
@click.pass_obj
def command(cluster: str | None, *, as_json: bool) -> None:
    """Show every node with its cards, who is on them, and how much of what they booked they were seen to use."""
    connection = connect(cluster)
    snapshot = observe(connection.cluster, connection.registry)
    if as_json:
        click.echo(json.dumps(snapshot_document(snapshot), indent=2))
        return
    fleet = read_fleet(connection.registry).fleet
    in_use_mib = connection.nomad.cards_in_use() if connection.nomad else None
    out.print(rack_view(rack_picture(snapshot, in_use_mib), [model.name for model in fleet.models]))
    if snapshot.simulated:
        notes.print("These cards are simulated: engines run on the CPU.")
