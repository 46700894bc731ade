"""`aivailable down`: stop AIvailable on a real cluster."""

import click

from aivailable.cli.connection import connect, require_nomad
from aivailable.cli.console import notes
from aivailable.controller.system import stop_everything


@click.command("down")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(cluster: str | None, *, yes: bool) -> None:
    """Stop controllers, engines and gateways on a real cluster. Fleet and keys stay: `up` brings everything back."""
    connection = connect(cluster)
    require_nomad(connection, "down")
    serving = len(connection.cluster.snapshot().replicas)
    if not yes:
        notes.print(f"This stops the gateways, so clients get no answer, and {serving} engine(s).")
        click.confirm("Go on?", abort=True, err=True)
    stopped = stop_everything(connection.cluster)
    notes.print(f"stopped: controllers, {stopped} engine(s), gateways; the fleet and the keys are kept")
