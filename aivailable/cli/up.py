"""`aivailable up`: controllers and gateways on a real cluster."""

import click

from aivailable.cli.connection import Connection, connect, require_nomad
from aivailable.cli.console import notes, out
from aivailable.clients.consul_connect import ConsulIntentions
from aivailable.controller.mesh import write_intentions
from aivailable.controller.system import SystemLook, copies_for, register, watch
from aivailable.errors import GaveUpError
from aivailable.keystore import create_key, read_keys
from aivailable.model.events import ClusterEvent
from aivailable.model.service import CONTROLLER_JOB, GATEWAY_JOB, GATEWAY_SERVICE

FIRST_KEY = "first"
EVENTS_SHOWN = 200


@click.command("up")
@click.option("--copies", type=click.IntRange(min=1), help="Controllers and gateways; default 2, on one node 1.")
@click.pass_obj
def command(cluster: str | None, copies: int | None) -> None:
    """Start AIvailable itself on a real cluster: controllers and gateways as Nomad jobs; wait until they are healthy.

    Again after an upgrade or with other settings: what changed is replaced, engines run on. Makes a first API key
    where there is none.
    """
    connection = connect(cluster)
    nomad = require_nomad(connection, "up")
    wanted = copies or copies_for(connection.cluster.snapshot())
    if write_intentions(ConsulIntentions(connection.settings.consul)):
        notes.print("intentions written: gateways may speak to engines, nobody else may")
    register(nomad, connection.settings, copies=wanted)
    notes.print(f"registered {CONTROLLER_JOB} and {GATEWAY_JOB}, {wanted} of each")
    try:
        look = _follow(connection, wanted)
    except KeyboardInterrupt:
        raise GaveUpError("stopped watching; the jobs are registered and Nomad works on") from None
    _tell(connection, look)


def _follow(connection: Connection, copies: int) -> SystemLook:
    """Say what changes until everything is healthy: the counts, and what the tasks report."""
    last = ""
    seen = {_key(event) for event in _own_events(connection)}
    for look in watch(
        connection.cluster, connection.registry, copies=copies, timeout_s=connection.settings.deploy_timeout_s
    ):
        now = f"healthy: {len(look.controllers)} of {copies} controllers, {len(look.gateways)} of {copies} gateways"
        if now != last:
            notes.print(now)
            last = now
        for event in _own_events(connection):
            if _key(event) not in seen:
                seen.add(_key(event))
                notes.print(f"  {event.node}: {event.text}")
    return look


def _own_events(connection: Connection) -> list[ClusterEvent]:
    """What went wrong with our own jobs' tasks; what goes as it should is not worth a line."""
    own = require_nomad(connection, "up").events_of((CONTROLLER_JOB, GATEWAY_JOB), EVENTS_SHOWN)
    wrong = ("Exit Code", "fail", "Fail", "refuse")
    return [e for e in own if any(word in e.text for word in wrong) and not e.text.endswith("Exit Code: 0")]


def _key(event: ClusterEvent) -> tuple[float, str, str]:
    return event.at_s, event.node, event.text


def _tell(connection: Connection, look: SystemLook) -> None:
    """Where clients connect, and with which key."""
    out.print("\n[bold]Up.[/] Clients connect to")
    port = connection.settings.gateway_port
    scheme = connection.settings.gateway_scheme
    click.echo(f"  {scheme}://{GATEWAY_SERVICE}.service.consul:{port}/v1     (any gateway, by Consul's DNS)")
    for gateway in look.gateways:
        click.echo(f"  {scheme}://{gateway.address}:{gateway.port}/v1     ({gateway.node})")
    if not read_keys(connection.secrets):
        key = create_key(connection.secrets, FIRST_KEY)
        out.print(f"\nThe first API key, [bold]{FIRST_KEY}[/]; keep it, or make others with `aivailable keys create`")
        click.echo(f"  {key.secret}")
    out.print("\nNext: aivailable deploy FILE, aivailable status")
