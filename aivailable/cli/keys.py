"""`aivailable keys`: API keys, their rights, and their end."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.table import Table

from aivailable.cli.connection import connect
from aivailable.cli.console import notes, out
from aivailable.cli.fleet_input import read_text
from aivailable.cli.stop import require_model
from aivailable.controller.fleetstore import read_fleet
from aivailable.documents import keys_document, load_keys
from aivailable.errors import UserError
from aivailable.keystore import create_key, read_keys, revoke_key, rotate_key
from aivailable.model.service import ApiKey

_SPAN = re.compile(r"(\d{1,6})([hd])")


@click.group("keys")
def command() -> None:
    """Make, list, revoke, rotate and reissue API keys. A change is live within two seconds."""


@command.command("create")
@click.argument("name")
@click.option("--model", "models", multiple=True, help="A model it may use; repeat it. Default: every model.")
@click.option("--rpm", type=click.IntRange(min=1), help="Requests per minute [default: no limit].")
@click.option("--tpm", type=click.IntRange(min=1), help="Tokens per minute [default: no limit].")
@click.option(
    "--tokens-per-day",
    type=click.IntRange(min=1),
    help="Tokens per day (UTC), prompts and answers [default: no limit].",
)
@click.option("--expires", help="When it ends: a day (2027-01-31, its end in UTC), or in how long (12h, 30d).")
@click.pass_obj
def create(
    cluster: str | None,
    name: str,
    models: tuple[str, ...],
    rpm: int | None,
    tpm: int | None,
    tokens_per_day: int | None,
    expires: str | None,
) -> None:
    """Make a key called NAME and print its secret, alone on standard output; keep it, or rotate later.

    Limits hold for all gateways together. Who is over one gets 429; an expired key 401.
    """
    expires_at = _moment(expires, time.time()) if expires else 0.0
    connection = connect(cluster)
    fleet = read_fleet(connection.registry).fleet
    for model in models:
        require_model(fleet, model)
    key = create_key(
        connection.secrets,
        name,
        models,
        rpm=rpm or 0,
        tpm=tpm or 0,
        tokens_per_day=tokens_per_day or 0,
        expires_at=expires_at,
    )
    limits = f"; {_limits(key)}" if _limits(key) else ""
    notes.print(f"key {name} may use {', '.join(models) or 'every model'}{limits}")
    click.echo(key.secret)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the keys as JSON, without their secrets.")
@click.pass_obj
def list_(cluster: str | None, *, as_json: bool) -> None:
    """List the keys and what they may use; never their secrets."""
    keys = read_keys(connect(cluster).secrets)
    if as_json:
        click.echo(json.dumps(keys_document(keys), indent=2))
        return
    table = Table("Key", "Models", "Limits", box=None, pad_edge=False)
    for key in keys:
        table.add_row(key.id, ", ".join(key.models) or "every model", _limits(key) or "none")
    out.print(table)


@command.command("reissue")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def reissue(cluster: str | None, file: Path) -> None:
    """Make the keys anew that FILE lists, as `keys list --json` printed them: names, models and limits stay.

    Prints a name and its new secret per line. A name that there is already is left as it is; what has expired, too.
    """
    listed = load_keys(read_text(file).encode(), where=str(file))
    connection = connect(cluster)
    fleet = read_fleet(connection.registry).fleet
    for model in dict.fromkeys(model for key in listed for model in key.models):
        require_model(fleet, model)
    present = {key.id for key in read_keys(connection.secrets)}
    for key in listed:
        if key.id in present or 0 < key.expires_at <= time.time():
            notes.print(f"key {key.id} {'is there already' if key.id in present else 'has expired'}: left away")
            continue
        made = create_key(
            connection.secrets,
            key.id,
            key.models,
            rpm=key.rpm,
            tpm=key.tpm,
            tokens_per_day=key.tokens_per_day,
            expires_at=key.expires_at,
        )
        click.echo(f"{made.id} {made.secret}")


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


def _limits(key: ApiKey) -> str:
    """Its limits in words; empty where it has none."""
    given = [
        (key.rpm, "requests/min"),
        (key.tpm, "tokens/min"),
        (key.tokens_per_day, "tokens/day"),
    ]
    words = [f"{number} {unit}" for number, unit in given if number]
    if key.expires_at:
        ends = datetime.fromtimestamp(key.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        words.append(f"{'expired' if key.expires_at <= time.time() else 'until'} {ends}")
    return ", ".join(words)


def _moment(text: str, now_s: float) -> float:
    """Seconds since 1970 of a day's end or of a span from now.

    Raises:
        UserError: Neither a day nor a span, or it has passed.
    """
    hint = "give a day like 2027-01-31, or a span like 12h or 30d"
    span = _SPAN.fullmatch(text.strip())
    try:
        if span:
            moment = now_s + int(span[1]) * (3600 if span[2] == "h" else 86_400)
        else:
            day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
            moment = (day + timedelta(days=1)).timestamp()
        datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError) as error:
        raise UserError(f"--expires {text!r}: neither a day nor a span", hint=hint) from error
    if moment <= now_s:
        raise UserError(f"--expires {text!r} has passed", hint=hint)
    return moment
