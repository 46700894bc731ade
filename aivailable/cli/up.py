"""`aivailable up`: controllers, gateways and add-ons on a real cluster."""

import click

from aivailable.cli.connection import Connection, connect, require_nomad
from aivailable.cli.console import notes, out
from aivailable.clients.consul_connect import ConsulIntentions
from aivailable.clients.nomad import NomadCluster
from aivailable.controller.addons import ADDONS, Addon, find_addons
from aivailable.controller.mesh import write_intentions
from aivailable.controller.system import SystemLook, copies_for, register, watch
from aivailable.errors import GaveUpError
from aivailable.keystore import create_key, read_keys
from aivailable.model.events import ClusterEvent
from aivailable.model.service import CONTROLLER_JOB, GATEWAY_JOB, GATEWAY_SERVICE, host_port
from aivailable.model.snapshot import Snapshot

FIRST_KEY = "first"
EVENTS_SHOWN = 200
HINT = "set NOMAD_ADDR; in the demo, the page has a chat"


@click.command("up")
@click.option("--copies", type=click.IntRange(min=1), help="Controllers and gateways; default 2, on one node 1.")
@click.option(
    "--with",
    "extra",
    multiple=True,
    metavar="NAME[,NAME]",
    help=f"What to add: {', '.join(ADDONS)}. May be given again.",
)
@click.pass_obj
def command(cluster: str | None, copies: int | None, extra: tuple[str, ...]) -> None:
    """Start AIvailable itself on a real cluster: controllers and gateways as Nomad jobs; wait until they are healthy.

    Again after an upgrade or with other settings: what changed is replaced, engines run on. Makes a first API key
    where there is none. What was added before stays as it is where --with does not name it.
    """
    addons = find_addons(extra)
    connection = connect(cluster)
    nomad = require_nomad(connection, "up", hint=HINT)
    snapshot = connection.cluster.snapshot()
    wanted = copies or copies_for(snapshot)
    for addon in addons:
        if addon.check:
            addon.check(nomad, snapshot, connection.settings)
    if write_intentions(ConsulIntentions(connection.settings.consul)):
        notes.print("intentions written: gateways may speak to engines, nobody else may")
    register(nomad, connection.settings, copies=wanted)
    notes.print(f"registered {CONTROLLER_JOB} and {GATEWAY_JOB}, {wanted} of each")
    _add(addons, nomad, connection, snapshot)
    try:
        _tell(connection, _follow(connection, nomad, wanted, ()))
        if addons:  # some take long to come, with images of gigabytes: clients need not wait for them
            _tell_addons(_follow(connection, nomad, wanted, addons), addons)
    except KeyboardInterrupt:
        raise GaveUpError("stopped watching; the jobs are registered and Nomad works on") from None
    out.print("\nNext: aivailable deploy FILE, aivailable status")


def _add(addons: tuple[Addon, ...], nomad: NomadCluster, connection: Connection, snapshot: Snapshot) -> None:
    for addon in addons:
        job = addon.prepare(nomad, connection.secrets, snapshot, connection.settings)
        nomad.replace(job.id, job.text)
        notes.print(f"registered {job.id}")


def _follow(connection: Connection, nomad: NomadCluster, copies: int, addons: tuple[Addon, ...]) -> SystemLook:
    """Say what changes until everything is healthy: the counts, and what the tasks report."""
    last = ""
    jobs = (CONTROLLER_JOB, GATEWAY_JOB, *(addon.job for addon in addons))
    seen = {_key(event) for event in _failures(nomad, jobs)}
    looks = watch(
        connection.cluster,
        connection.registry,
        copies=copies,
        timeout_s=connection.settings.deploy_timeout_s,
        others=[addon.service for addon in addons],
    )
    for look in looks:
        now = f"healthy: {len(look.controllers)} of {copies} controllers, {len(look.gateways)} of {copies} gateways"
        now += "".join(f", {addon.name}" for addon in addons if look.others[addon.service])
        if now != last:
            notes.print(now)
            last = now
        for event in _failures(nomad, jobs):
            if _key(event) not in seen:
                seen.add(_key(event))
                notes.print(f"  {event.node}: {event.text}", markup=False)
    return look


def _failures(nomad: NomadCluster, jobs: tuple[str, ...]) -> list[ClusterEvent]:
    """What went wrong with our own jobs' tasks; what goes as it should is not worth a line."""
    own = nomad.events_of(jobs, EVENTS_SHOWN)
    wrong = ("Exit Code", "fail", "Fail", "refuse")
    return [e for e in own if any(word in e.text for word in wrong) and not e.text.endswith("Exit Code: 0")]


def _key(event: ClusterEvent) -> tuple[float, str, str]:
    return event.at_s, event.node, event.text


def _tell(connection: Connection, look: SystemLook) -> None:
    """Where clients connect, with which key, and where the page is."""
    out.print("\n[bold]Up.[/] Clients connect to")
    port = connection.settings.gateway_port
    scheme = connection.settings.gateway_scheme
    click.echo(f"  {scheme}://{GATEWAY_SERVICE}.service.consul:{port}/v1     (any gateway, by Consul's DNS)")
    for gateway in look.gateways:
        click.echo(f"  {scheme}://{host_port(gateway.address, gateway.port)}/v1     ({gateway.node})")
    click.echo("\nThe page with the rack and a chat, for whoever has a key:")
    for controller in look.controllers:
        click.echo(f"  {scheme}://{host_port(controller.address, controller.port)}/     ({controller.node})")
    own = {addon.key for addon in ADDONS.values()}
    if all(key.id in own for key in read_keys(connection.secrets)):
        key = create_key(connection.secrets, FIRST_KEY)
        out.print(f"\nThe first API key, [bold]{FIRST_KEY}[/]; keep it, or make others with `aivailable keys create`")
        click.echo(f"  {key.secret}")


def _tell_addons(look: SystemLook, addons: tuple[Addon, ...]) -> None:
    for addon in addons:
        for instance in look.others[addon.service]:
            note = f"; {addon.note}" if addon.note else ""
            where = host_port(instance.address, instance.port)
            click.echo(f"\n{addon.name}: http://{where}     ({instance.node}{note})")
