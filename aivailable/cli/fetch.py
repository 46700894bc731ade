"""`aivailable fetch`: bring and verify model files. Jobs run it before their engine; people may too."""

from pathlib import Path

import click

from aivailable.cli.connection import read_settings
from aivailable.cli.telling import Teller
from aivailable.controller.sources import Sources
from aivailable.errors import UserError
from aivailable.model.source import parse_source


@click.command("fetch")
@click.argument("source")
@click.option("--into", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to.")
@click.option("--sha256", default="", help="What the files must be; there already, nothing is asked for.")
@click.pass_obj
def command(cluster: str | None, source: str, folder: Path, sha256: str) -> None:
    """Bring the files of SOURCE into a folder of their own below --into, verify them, and print the model's path.

    A transfer that was cut goes on where it stopped.
    """
    try:
        parsed = parse_source(source)
    except ValueError as error:
        raise UserError(f"source {source!r}: {error}", hint="correct it") from error
    click.echo(Sources(read_settings(cluster), progress=Teller()).bring(parsed, folder, sha256=sha256))
