"""`aivailable controller`: the loop of a real cluster; a Nomad job runs it, several at once."""

from pathlib import Path

import click

from aivailable.cli.connection import connect, require_nomad
from aivailable.cli.page import eyes_of_a_real_cluster, page
from aivailable.cli.serving import log_to_stderr, stopped_by_signal
from aivailable.controller.loop import Controller
from aivailable.controller.metrics import Metrics
from aivailable.errors import UserError


@click.command("controller")
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to serve the page and the metrics.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path("controller"),
    show_default=True,
    help="Where to keep a certificate that it makes itself (AIVAILABLE_TLS_SELF_SIGNED).",
)
@click.pass_obj
def command(cluster: str | None, address: str, directory: Path) -> None:
    """Keep the cluster equal to the fleet, until SIGTERM. Several may run; one leads.

    `aivailable up` registers the job that runs it.
    """
    log_to_stderr()
    connection = connect(cluster)
    nomad = require_nomad(connection, "controller")
    stop = stopped_by_signal()
    metrics = Metrics(nomad.cards_in_use)
    eyes = eyes_of_a_real_cluster(connection, nomad)
    settings = connection.settings
    if not settings.controller_port:
        raise UserError("AIVAILABLE_CONTROLLER_PORT=0: nobody finds a free one here", hint="name a port")
    shown = page(
        eyes,
        connection.secrets,
        metrics,
        settings,
        address=address,
        port=settings.controller_port,
        directory=directory,
    )
    with shown:
        loop = Controller(
            connection.cluster,
            connection.registry,
            settings,
            watcher=metrics,
            in_use=nomad.cards_in_use,
        )
        loop.run(stop)
