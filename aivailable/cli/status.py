"""`aivailable status`: what runs where, how it is, and why."""

import json
import time
from dataclasses import asdict

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from aivailable.cli.connection import Connection, connect
from aivailable.cli.console import out
from aivailable.cli.rack_view import rack_view
from aivailable.cli.views import events_view, missing_view, replicas_view
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.history import history
from aivailable.controller.observe import observe
from aivailable.controller.picture import Picture, picture
from aivailable.documents import snapshot_document
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import given_up, plan

EVENTS_SHOWN = 12
EVENTS_IN_JSON = 100
WATCH_STEP_S = 1.0

CONDITION_STYLE = {"good": "green", "thin": "yellow", "down": "red"}
MESH = {
    "none": "Gateways reach engines by plain HTTP (no mesh)",
    "bridge": "Gateways reach engines by mutual TLS (mesh, each engine in a network of its own)",
    "host": "Gateways reach engines by mutual TLS (mesh, engines on their host's loopback)",
}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the snapshot, the models and recent events as JSON.")
@click.option("--watch", is_flag=True, help="Keep the picture up to date until Ctrl-C.")
@click.pass_obj
def command(cluster: str | None, *, as_json: bool, watch: bool) -> None:
    """Show models, replicas and cards, and the recent events that explain them."""
    connection = connect(cluster)
    if as_json:
        click.echo(json.dumps(_document(connection), indent=2))
        return
    if not watch:
        out.print(_view(connection))
        return
    index = 0
    with Live(_view(connection), console=out, refresh_per_second=4, screen=out.is_terminal) as live:
        try:
            while True:
                index = connection.cluster.changed(index, WATCH_STEP_S)
                live.update(_view(connection))
        except KeyboardInterrupt:
            return


def _document(connection: Connection) -> dict[str, object]:
    snapshot = observe(connection.cluster, connection.registry)
    fleet = read_fleet(connection.registry).fleet
    made = plan(fleet, snapshot)
    lost = given_up(fleet, snapshot.failed)
    return {
        "simulated": snapshot.simulated,
        "mesh": fleet.mesh or "none",
        "models": [
            {
                "name": m.name,
                "wanted": m.replicas,
                "serving": serving(m.name, snapshot),
                "unplaced": [reason.text for u in made.unplaced if u.model == m.name for reason in u.reasons],
                "given_up": [f"{f.variant}: {f.reason}" for f in lost.get(m.name, ())],
            }
            for m in fleet.models
        ],
        **snapshot_document(snapshot),
        "events": [asdict(e) for e in history(connection.cluster, connection.registry, limit=EVENTS_IN_JSON)],
    }


def _view(connection: Connection) -> RenderableType:
    snapshot = observe(connection.cluster, connection.registry)
    fleet = read_fleet(connection.registry).fleet
    shown = picture(
        fleet,
        snapshot,
        plan(fleet, snapshot),
        at_s=time.time(),
        decisions=history(connection.cluster, connection.registry, limit=EVENTS_SHOWN),
    )
    heading = Text("Cards" + (" (simulated: engines run on the CPU)" if shown.simulated else ""), style="bold")
    return Group(
        _summary(shown),
        replicas_view(fleet, snapshot),
        missing_view(shown.models),
        Text(),
        heading,
        rack_view(shown.nodes, [model.name for model in shown.models]),
        Text(),
        Text("Recent events", style="bold"),
        events_view(reversed(shown.decisions)),
    )


def _summary(shown: Picture) -> RenderableType:
    text = Text()
    for model in shown.models:
        style = CONDITION_STYLE[model.condition]
        text.append(f"{model.name}: {model.serving} of {model.wanted} serving\n", style=f"bold {style}")
    if shown.models:
        text.append(f"{MESH[shown.mesh]}\n", style="dim")
    return text if shown.models else Text("The fleet is empty: add a model with `aivailable deploy`.\n")


def serving(model: str, snapshot: Snapshot) -> int:
    """How many replicas of a model serve."""
    return sum(r.model == model and r.state is ReplicaState.SERVING for r in snapshot.replicas)
