"""`aivailable controller`: the loop of a real cluster; a Nomad job runs it, several at once."""

import click

from aivailable.cli.connection import connect, require_nomad
from aivailable.cli.page import eyes_of_a_real_cluster, page
from aivailable.cli.serving import log_to_stderr, stopped_by_signal
from aivailable.controller.loop import Controller
from aivailable.controller.metrics import Metrics
from aivailable.errors import UserError


@click.command("controller")
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to serve the page and the metrics.")
@click.pass_obj
def command(cluster: str | None, address: str) -> None:
    """Keep the cluster equal to the fleet, until SIGTERM. Several may run; one leads.

    `aivailable up` registers the job that runs it.
    """
    log_to_stderr()
    connection = connect(cluster)
    nomad = require_nomad(connection, "controller")
    stop = stopped_by_signal()
    metrics = Metrics(nomad.cards_in_use)
    eyes = eyes_of_a_real_cluster(connection, nomad)
    if not connection.settings.controller_port:
        raise UserError("AIVAILABLE_CONTROLLER_PORT=0: nobody finds a free one here", hint="name a port")
    with page(eyes, connection.secrets, metrics, address, connection.settings.controller_port):
        loop = Controller(
            connection.cluster,
            connection.registry,
            connection.settings,
            watcher=metrics,
            in_use=nomad.cards_in_use,
        )
        loop.run(stop)
