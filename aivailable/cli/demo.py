"""`aivailable demo`: a simulated rack on this machine, a real engine, a real Envoy, one answer."""

import json
import shutil
import sys
import threading
from pathlib import Path

import click

from aivailable.cli.connection import connect, read_settings, trust_of
from aivailable.cli.console import notes, out
from aivailable.cli.deploy import refuse_impossible, wait_until_served
from aivailable.cli.fleet_input import fleet_from_file, read_text
from aivailable.cli.page import page
from aivailable.cli.plan import timed_plan
from aivailable.cli.serving import one_interrupt
from aivailable.cli.telling import Teller
from aivailable.cli.views import plan_view
from aivailable.clients.chat import ChatRequest, Trust, stream_chat
from aivailable.clients.gateway_metrics import read_gateways
from aivailable.controller.fleetstore import read_fleet, write_fleet
from aivailable.controller.journal import read_decisions
from aivailable.controller.mesh import without_mesh
from aivailable.controller.metrics import Metrics
from aivailable.controller.observe import observe
from aivailable.controller.one_machine import Running, one_machine
from aivailable.controller.sources import Sources
from aivailable.devices.simulated import load_nodes
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.state import GATEWAY_DIR
from aivailable.errors import UserError
from aivailable.gateway.ports import choose_port
from aivailable.model.fleet import Fleet
from aivailable.page.looking import Eyes
from aivailable.settings import shipped

QUESTION = "What is the capital of France?"
ANSWER_TOKENS = 32
FIRST_ANSWER_PATIENCE_S = 15.0
"""Envoy may read its endpoints that much later than the engine is healthy, on a machine busy with engines' starts."""


@click.group("demo", invoke_without_command=True)
@click.option("--once", is_flag=True, help="End after the answer instead of staying up.")
@click.option("--fleet", "fleet_file", type=click.Path(path_type=Path), help="Another fleet file.")
@click.option("--inventory", "inventory_file", type=click.Path(path_type=Path), help="Other simulated cards.")
@click.pass_context
def command(ctx: click.Context, fleet_file: Path | None, inventory_file: Path | None, *, once: bool) -> None:
    """Run a simulated rack on this machine, deploy a small model, ask it one question.

    The cards are simulated: engines run on the CPU, one thread each. Everything else is real. Stays up until Ctrl-C.
    """
    if ctx.invoked_subcommand is not None:
        return
    examples = shipped("examples")
    inventory = inventory_file or examples / "demo-inventory.toml"
    settings = read_settings(_never_real(ctx.obj))
    nodes = load_nodes(read_text(inventory), where=str(inventory))
    fleet = without_mesh(fleet_from_file(fleet_file or examples / "demo.toml", Sources(settings, progress=Teller())))
    cards = sum(len(node.cards) for node in nodes)
    notes.print(f"Starting an embedded cluster: {len(nodes)} nodes with {cards} simulated cards …")
    notes.print()
    metrics = Metrics(dict)
    address = settings.gateway_address
    with one_interrupt(), one_machine(nodes, settings, watcher=metrics) as running:
        port = choose_port(address, settings, "controller_port")
        eyes, directory = _eyes(running), settings.state / GATEWAY_DIR
        with page(
            eyes, running.secrets, metrics, settings, address=address, port=port, directory=directory
        ) as page_url:
            _deploy(running, fleet, settings.deploy_timeout_s)
            _ask(running, fleet, trust_of(settings))
            if not once:
                _stay(running, fleet, page_url)
    notes.print("Everything this demo started has stopped.")


@command.command("kill")
@click.argument("node")
@click.pass_obj
def kill(cluster: str | None, node: str) -> None:
    """Pull the power cord of NODE in a running demo."""
    _embedded(cluster).set_node_down(node, down=True)
    notes.print(f"{node} is down; `aivailable status` shows what happens")


@command.command("revive")
@click.argument("node")
@click.pass_obj
def revive(cluster: str | None, node: str) -> None:
    """Power NODE of a running demo up again."""
    _embedded(cluster).set_node_down(node, down=False)
    notes.print(f"{node} is up again")


def _embedded(cluster: str | None) -> EmbeddedCluster:
    return EmbeddedCluster(connect(_never_real(cluster)).settings.state)


def _never_real(cluster: str | None) -> str:
    """The embedded cluster that is meant: the demo is one, whatever Nomad the environment names.

    Raises:
        UserError: A real one was asked for.
    """
    if cluster is not None and not cluster.startswith("embedded"):
        raise UserError(f"--cluster {cluster}: the demo is an embedded cluster", hint="leave --cluster away")
    return cluster or "embedded"


def _deploy(running: Running, fleet: Fleet, timeout_s: float) -> None:
    snapshot = observe(running.cluster, running.registry)
    made = timed_plan(fleet, snapshot)
    out.print(plan_view(made, snapshot))
    refuse_impossible(made)
    before = read_decisions(running.registry)
    fleet = write_fleet(running.registry, fleet, seen=read_fleet(running.registry))
    out.print()
    notes.print("Engines start; real ones, on the CPU, because the cards are simulated:")
    wait_until_served(running.cluster, running.registry, fleet, before, timeout_s)


def _ask(running: Running, fleet: Fleet, trust: Trust) -> None:
    if not fleet.models:
        raise UserError("the fleet has no model to ask", hint="name a fleet file with a model")
    request = ChatRequest(
        model=fleet.models[0].name,
        messages=_messages(),
        max_tokens=ANSWER_TOKENS,
        temperature=0,
    )
    out.print(f"\n[bold]Request[/] POST {running.base_url}/chat/completions")
    click.echo(json.dumps(request.body(stream=True)))
    out.print("\n[bold]Answer[/], from a simulated card, through Envoy")
    patience_s = FIRST_ANSWER_PATIENCE_S
    for piece in stream_chat(running.base_url, running.key, request, patience_s=patience_s, trust=trust):
        click.echo(piece, nl=False)
    click.echo()


def _eyes(running: Running) -> Eyes:
    """What the page looks at. Simulated cards have no driver to ask."""
    return Eyes(
        cluster=running.cluster,
        registry=running.registry,
        gateways=lambda: read_gateways({"gateway": running.probes}),
        in_use_mib=dict,
        base_urls=lambda: (running.base_url,),
    )


def _stay(running: Running, fleet: Fleet, page_url: str) -> None:
    body = json.dumps(
        {"model": fleet.models[0].name, "messages": _messages(), "temperature": 0, "max_tokens": ANSWER_TOKENS}
    )
    program = _program()
    out.print("\n[bold]It stays up[/] (simulated cards; Ctrl-C stops everything)")
    click.echo(f"  page      {page_url}/#key={running.key}")
    click.echo(f"  base URL  {running.base_url}")
    click.echo(f"  key       {running.key}")
    click.echo(
        f"\ncurl {running.base_url}/chat/completions -H 'Authorization: Bearer {running.key}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )
    out.print("\n[bold]From another terminal[/]")
    for line in ("status", f"chat {fleet.models[0].name}", "demo kill node1"):
        click.echo(f"  {program} {line}")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        notes.print("\nStopping …")


def _messages() -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": QUESTION},
    ]


def _program() -> str:
    """How this program was called, so that the lines shown can be copied: it may not be on PATH."""
    called = Path(sys.argv[0])
    if shutil.which(called.name) == str(called):
        return called.name
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else str(called)
