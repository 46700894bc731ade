"""`aivailable gateway`: one gateway of a real cluster, an Envoy and its feeder; a Nomad job runs it."""

import socket
from pathlib import Path

import click

from aivailable.cli.connection import connect, require_nomad
from aivailable.cli.serving import log_to_stderr, stopped_by_signal
from aivailable.gateway.envoy import Envoy
from aivailable.gateway.feeder import Feeder
from aivailable.gateway.tls import with_own_certificate


@click.command("gateway")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where Envoy's files live; those of an earlier run are started from while the stores do not answer.",
)
@click.option("--name", help="Tells its usage from that of other gateways [default: the host's name].")
@click.pass_obj
def command(cluster: str | None, directory: Path, name: str | None) -> None:
    """Run Envoy and keep its files equal to fleet, keys and healthy engines, until SIGTERM.

    Then no new requests are taken, and those begun are answered for at most AIVAILABLE_KILL_TIMEOUT_S.

    `aivailable up` registers the job that runs it.
    """
    log_to_stderr()
    connection = connect(cluster)
    require_nomad(connection, "gateway")
    stop = stopped_by_signal()
    directory.mkdir(parents=True, exist_ok=True)
    settings = with_own_certificate(connection.settings, directory)
    own_name = name or socket.gethostname()
    feeder = Feeder(
        connection.registry,
        connection.secrets,
        directory,
        settings,
        certificates=connection.certificates,
        name=own_name,
    )
    feeder.publish_first(stop)
    if stop.is_set():
        return
    with Envoy(directory, settings) as envoy:
        feeder.run(stop)
        envoy.drain()
        feeder.count_last()
