"""`aivailable keys`: API keys, their rights, and their end."""

import json

import click
from rich.table import Table

from aivailable.cli.connection import connect
from aivailable.cli.console import notes, out
from aivailable.cli.stop import require_model
from aivailable.controller.fleetstore import read_fleet
from aivailable.keystore import create_key, read_keys, revoke_key, rotate_key


@click.group("keys")
def command() -> None:
    """Make, list, revoke and rotate API keys. A change is live within two seconds."""


@command.command("create")
@click.argument("name")
@click.option("--model", "models", multiple=True, help="A model it may use; repeat it. Default: every model.")
@click.pass_obj
def create(cluster: str | None, name: str, models: tuple[str, ...]) -> None:
    """Make a key called NAME and print its secret, alone on standard output; keep it, or rotate later."""
    connection = connect(cluster)
    fleet = read_fleet(connection.registry).fleet
    for model in models:
        require_model(fleet, model)
    key = create_key(connection.secrets, name, models)
    notes.print(f"key {name} may use {', '.join(models) or 'every model'}")
    click.echo(key.secret)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON, without their secrets.")
@click.pass_obj
def list_(cluster: str | None, *, as_json: bool) -> None:
    """List the keys and what they may use; never their secrets."""
    keys = read_keys(connect(cluster).secrets)
    if as_json:
        click.echo(json.dumps([{"id": key.id, "models": list(key.models)} for key in keys], indent=2))
        return
    table = Table("Key", "Models", box=None, pad_edge=False)
    for key in keys:
        table.add_row(key.id, ", ".join(key.models) or "every model")
    out.print(table)


@command.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(cluster: str | None, name: str) -> None:
    """Remove the key NAME; requests with it are refused within two seconds."""
    revoke_key(connect(cluster).secrets, name)
    notes.print(f"key {name} is revoked")


@command.command("rotate")
@click.argument("name")
@click.pass_obj
def rotate(cluster: str | None, name: str) -> None:
    """Give the key NAME a new secret and print it; the old one is refused within two seconds."""
    key = rotate_key(connect(cluster).secrets, name)
    notes.print(f"key {name} has a new secret")
    click.echo(key.secret)
