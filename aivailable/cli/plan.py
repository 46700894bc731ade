"""`aivailable plan`: what would happen, and why."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import click
from rich.console import RenderableType
from rich.text import Text

from aivailable.cli.connection import connect, read_settings
from aivailable.cli.console import out
from aivailable.cli.fleet_input import fleet_from_file, snapshot_from_file
from aivailable.cli.telling import Teller
from aivailable.cli.views import hole_view, plan_view, survival_view
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.mesh import settle
from aivailable.controller.observe import observe
from aivailable.controller.sources import Sources
from aivailable.documents import plan_document
from aivailable.errors import UserError
from aivailable.model.fleet import Fleet
from aivailable.model.plan import Plan
from aivailable.model.snapshot import Snapshot
from aivailable.placement import defragment, plan, plan_exactly, survival, without_nodes

SECONDS = click.FloatRange(min=0, min_open=True)


@click.command("plan")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--snapshot", "snapshot_file", type=click.Path(path_type=Path), help="Plan offline on this snapshot.")
@click.option("--what-if-lost", "lost", multiple=True, metavar="NODE", help="As if this node were lost now.")
@click.option("--defrag", is_flag=True, help="Propose moves that open the largest hole on one card.")
@click.option(
    "--exact",
    "exact_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Search for the best plan.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
def command(
    cluster: str | None,
    file: Path | None,
    snapshot_file: Path | None,
    lost: tuple[str, ...],
    exact_s: float | None,
    *,
    defrag: bool,
    as_json: bool,
) -> None:
    """Show what would happen with the fleet FILE (default: the present fleet), and why.

    Changes nothing. Exit code 2 when something cannot be placed.
    """
    if sum((bool(lost), defrag, exact_s is not None)) > 1:
        raise UserError("--what-if-lost, --defrag and --exact each ask for another plan", hint="give one of them")
    fleet, snapshot = plan_inputs(cluster, file, snapshot_file)
    told: dict[str, object] = {}
    begin = time.perf_counter()
    view: RenderableType | None = None
    if lost:
        snapshot = without_nodes(snapshot, lost)
        made = plan(fleet, snapshot)
        left = survival(fleet, snapshot, made)
        told["lost"] = {"nodes": list(lost), "models": [asdict(model) for model in left]}
        view = survival_view(lost, left)
    elif defrag:
        made, hole = defragment(fleet, snapshot)
        told["hole"] = asdict(hole)
        view = hole_view(hole)
    elif exact_s is not None:
        made, proved = plan_exactly(fleet, snapshot, exact_s)
        told["proved_optimal"] = proved
        view = Text("proved to be the best plan" if proved else f"the best plan found within {exact_s:g} s, not proved")
    else:
        made = plan(fleet, snapshot)
    made = replace(made, seconds=round(time.perf_counter() - begin, 6))
    if as_json:
        click.echo(json.dumps({**plan_document(made), **told}, indent=2))
    else:
        out.print(plan_view(made, snapshot))
        if view is not None:
            out.print(view)
    if made.unplaced:
        raise SystemExit(UserError.exit_code)


def timed_plan(fleet: Fleet, snapshot: Snapshot) -> Plan:
    """The plan with the seconds it took."""
    begin = time.perf_counter()
    made = plan(fleet, snapshot)
    return replace(made, seconds=round(time.perf_counter() - begin, 6))


def plan_inputs(cluster: str | None, file: Path | None, snapshot_file: Path | None) -> tuple[Fleet, Snapshot]:
    """The fleet (of a file, else the present one) and the snapshot (of a file, else of the running cluster).

    Raises:
        UserError: A file is wrong, or no cluster is running where one is needed.
    """
    if snapshot_file and file:
        return fleet_from_file(file, Sources(read_settings(cluster), progress=Teller())), snapshot_from_file(
            snapshot_file
        )
    if snapshot_file:
        raise UserError("--snapshot needs a fleet FILE", hint="aivailable plan fleet.toml --snapshot snapshot.json")
    connection = connect(cluster)
    present = read_fleet(connection.registry).fleet
    snapshot = observe(connection.cluster, connection.registry)
    if file is None:
        return present, snapshot
    wanted = fleet_from_file(file, connection.hub)
    return settle(wanted, present, snapshot, connection.certificates), snapshot
