"""`aivailable fleet`: the present fleet as a file."""

import click

from aivailable.cli.connection import connect
from aivailable.controller.fleetstore import read_fleet
from aivailable.fleetfile import dump_fleet_file


@click.command("fleet")
@click.option(
    "--resolved",
    is_flag=True,
    help="With pinned revisions, checksums and profiles: a backup, and enough to plan offline.",
)
@click.pass_obj
def command(cluster: str | None, *, resolved: bool) -> None:
    """Print the present fleet as a fleet file.

    Without --resolved for editing: sources are pinned anew where they are not known. With it as a backup: the same
    weights come back, and so the same engines.
    """
    click.echo(dump_fleet_file(read_fleet(connect(cluster).registry).fleet, resolved=resolved), nl=False)
