"""`aivailable fetch`: bring and verify model files. Jobs run it before their engine; people may too."""

from pathlib import Path

import click

from aivailable.cli.connection import is_real, read_settings
from aivailable.cli.console import notes
from aivailable.cli.telling import Teller
from aivailable.clients.consul import ConsulRegistry
from aivailable.controller.sources import Sources
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.errors import AivailableError, UserError
from aivailable.model.service import CACHE_PREFIX
from aivailable.model.source import parse_source
from aivailable.seams import Registry


@click.command("fetch")
@click.argument("source")
@click.option("--into", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where to.")
@click.option("--sha256", default="", help="What the files must be; there already, nothing is asked for.")
@click.option("--node", default="", help="Note in the registry that this node has them; jobs give it.")
@click.pass_obj
def command(cluster: str | None, source: str, folder: Path, sha256: str, node: str) -> None:
    """Bring the files of SOURCE into a folder of their own below --into, verify them, and print the model's path.

    A transfer that was cut goes on where it stopped.
    """
    try:
        parsed = parse_source(source)
    except ValueError as error:
        raise UserError(f"source {source!r}: {error}", hint="correct it") from error
    settings = read_settings(cluster)
    click.echo(Sources(settings, progress=Teller()).bring(parsed, folder, sha256=sha256))
    if node and sha256:
        registry = ConsulRegistry(settings.consul) if is_real(cluster) else EmbeddedRegistry(settings.state)
        _note(registry, node, sha256)


def _note(registry: Registry, node: str, sha256: str) -> None:
    """Tell the planner; whether it hears is no reason to fail, it only breaks ties by it."""
    try:
        registry.put(f"{CACHE_PREFIX}{node}/{sha256}", b"")
    except AivailableError as error:
        notes.print(f"not noted that this node has it: {error.message}")
