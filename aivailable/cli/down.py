"""`aivailable down`: stop AIvailable on a real cluster."""

import click

from aivailable.cli.connection import connect, require_nomad
from aivailable.cli.console import notes
from aivailable.controller.addons import running_addons
from aivailable.controller.system import stop_everything


@click.command("down")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(cluster: str | None, *, yes: bool) -> None:
    """Stop add-ons, controllers, engines and gateways on a real cluster. Fleet and keys stay: `up` brings them back."""
    connection = connect(cluster)
    nomad = require_nomad(connection, "down")
    addons = running_addons(nomad)
    names = "".join(f"{addon.name}, " for addon in addons)
    serving = len(connection.cluster.snapshot().replicas)
    if not yes:
        notes.print(f"This stops the gateways, so clients get no answer, and {names}{serving} engine(s).")
        click.confirm("Go on?", abort=True, err=True)
    for addon in addons:
        nomad.stop(addon.job)
    stopped = stop_everything(nomad)
    notes.print(f"stopped: {names}controllers, {stopped} engine(s), gateways; the fleet and the keys are kept")
    for addon in addons:
        notes.print(f"{addon.name} was added by hand: `aivailable up --with {addon.name}` brings it back")
