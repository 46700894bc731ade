"""`aivailable stop`: remove a model from the fleet."""

import difflib
from dataclasses import replace

import click

from aivailable.cli import following
from aivailable.cli.connection import connect
from aivailable.cli.console import notes
from aivailable.controller.fleetstore import read_fleet, write_fleet
from aivailable.controller.follow import follow
from aivailable.errors import UserError
from aivailable.model.fleet import Fleet


@click.command("stop")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--detach", is_flag=True, help="Do not wait until its engines have stopped.")
@click.pass_obj
def command(cluster: str | None, model: str, *, yes: bool, detach: bool) -> None:
    """Remove MODEL from the fleet and stop its engines; requests in flight are finished."""
    connection = connect(cluster)
    seen = read_fleet(connection.registry)
    require_model(seen.fleet, model)
    if not yes:
        click.confirm(f"Stop all replicas of {model}?", abort=True, err=True)
    without = replace(seen.fleet, models=tuple(m for m in seen.fleet.models if m.name != model))
    wanted = write_fleet(connection.registry, without, seen=seen)
    notes.print(f"{model} removed from the fleet")
    if not detach:
        timeout_s = connection.settings.deploy_timeout_s
        following.show(follow(wanted, connection.cluster, connection.registry, timeout_s=timeout_s))
        notes.print(f"{model} has stopped")


def require_model(fleet: Fleet, model: str) -> None:
    """Refuse a model that the fleet does not have.

    Raises:
        UserError: With the nearest name.
    """
    if fleet.model(model) is None:
        names = [m.name for m in fleet.models]
        near = difflib.get_close_matches(model, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the fleet has {', '.join(names) or 'no model'}"
        raise UserError(f"the fleet has no model {model!r}", hint=hint)
