"""`aivailable render`: the job text, without registering it."""

from pathlib import Path

import click

from aivailable.cli.connection import read_settings
from aivailable.cli.console import notes
from aivailable.cli.plan import plan_inputs
from aivailable.errors import UserError
from aivailable.placement import plan
from aivailable.rendering import render


@click.command("render")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--snapshot", "snapshot_file", type=click.Path(path_type=Path), help="Plan offline on this snapshot.")
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write one file per job here.")
@click.pass_obj
def command(cluster: str | None, file: Path, snapshot_file: Path | None, folder: Path | None) -> None:
    """Print the Nomad jobs that the fleet FILE would become, or write them into a folder.

    Registers nothing. Exit code 2 when something cannot be placed; what can be is rendered all the same.
    """
    settings = read_settings(cluster)
    made = plan(*plan_inputs(cluster, file, snapshot_file))
    for placement in made.placements:
        job = render(placement, settings)
        if folder is None:
            click.echo(job.text)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{job.id}.nomad.hcl").write_text(job.text)
            notes.print(f"{folder / job.id}.nomad.hcl")
    if made.unplaced:
        missing = ", ".join(
            f"{u.model} replica {u.replica}" + (f" and {u.count - 1} more" if u.count > 1 else "")
            for u in made.unplaced
        )
        raise UserError(f"not placed, so not rendered: {missing}", hint="`aivailable plan` says why")
