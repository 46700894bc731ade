"""`aivailable drain`: move a node's work off it, then let Nomad drain it."""

from collections.abc import Iterable, Iterator

import click

from aivailable.cli import following
from aivailable.cli.connection import Connection, connect
from aivailable.cli.console import notes, out
from aivailable.cli.deploy import why_it_failed
from aivailable.cli.plan import timed_plan
from aivailable.cli.views import plan_view
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.follow import Progress
from aivailable.controller.leaving import (
    Leaving,
    Running,
    follow_drain,
    follow_leaving,
    losses,
    mark,
    on_node,
    own_jobs_at_stake,
    thought_leaving,
)
from aivailable.controller.observe import observe
from aivailable.errors import GaveUpError, PermanentError, UserError
from aivailable.model.names import nearest
from aivailable.model.snapshot import Snapshot


@click.command("drain")
@click.argument("node")
@click.option("--yes", is_flag=True, help="Do not ask when something goes down.")
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="How long the moves are watched, and then how long all else may take before Nomad stops it; default 600.",
)
@click.option("--detach", is_flag=True, help="Mark the node and do not follow: what is no engine of ours stays there.")
@click.pass_obj
def command(cluster: str | None, node: str, *, yes: bool, deadline_s: float | None, detach: bool) -> None:
    """Empty NODE: its replicas are started elsewhere first, then stopped; then Nomad moves what else runs there.

    Asks when a model would lose replicas. Interrupted, the cluster works on; the same command again goes on with it.
    """
    connection = connect(cluster)
    snapshot = observe(connection.cluster, connection.registry)
    require_node(node, [known.name for known in snapshot.nodes])
    if _is_drained(connection, snapshot, node):
        notes.print(f"{node} is drained already; `aivailable undrain {node}` lets it take work again")
        return
    agreed = _show_and_ask(connection, snapshot, node, yes=yes)
    try:
        mark(connection.registry, node)
        connection.cluster.set_eligibility(node, eligible=False)
        notes.print(f"{node} takes no new work; what it has moves off")
        if detach:
            notes.print(f"`aivailable drain {node}` watches, and drains what is no engine of ours")
            return
        _empty(connection, node, agreed, deadline_s or connection.settings.deploy_timeout_s, yes=yes)
    except KeyboardInterrupt:
        raise GaveUpError(
            f"stopped watching; {node} is marked and the cluster works on",
            hint=f"`aivailable drain {node}` goes on, `aivailable undrain {node}` takes it back",
        ) from None
    notes.print(f"{node} is empty: it may be switched off. `aivailable undrain {node}` lets it take work again")


def require_node(node: str, names: Iterable[str]) -> None:
    """Refuse a node that is not there.

    Raises:
        UserError: With the nearest name.
    """
    names = list(names)
    if node not in names:
        raise UserError(f"there is no node {node!r}", hint=nearest(node, names))


def _is_drained(connection: Connection, snapshot: Snapshot, node: str) -> bool:
    known = snapshot.node(node)
    return bool(known and known.leaving and not known.eligible and not connection.cluster.running_on(node))


def _show_and_ask(connection: Connection, snapshot: Snapshot, node: str, *, yes: bool) -> frozenset[str]:
    """Say what will happen; gives the models that may lose replicas, once that is agreed to."""
    thought = thought_leaving(snapshot, node)
    fleet = read_fleet(connection.registry).fleet
    made = timed_plan(fleet, thought)
    out.print(plan_view(made, thought))
    found = losses(fleet, snapshot, made, node)
    running = _running(connection, snapshot, node)
    ours = {replica.job for replica in on_node(snapshot, node)}
    if others := [job for job in running[node] if job not in ours]:
        notes.print(f"Nomad then moves what else runs on {node}: {', '.join(others)}")
    _agree([*(loss.text for loss in found), *own_jobs_at_stake(snapshot, node, running)], yes=yes)
    return frozenset(loss.model for loss in found)


def _running(connection: Connection, snapshot: Snapshot, node: str) -> Running:
    """The jobs on every node, where a job on this one is not an engine; else only on this one."""
    here = connection.cluster.running_on(node)
    if set(here) <= {replica.job for replica in on_node(snapshot, node)}:
        return {node: here}
    return {known.name: connection.cluster.running_on(known.name) for known in snapshot.nodes} | {node: here}


def _agree(going_down: list[str], *, yes: bool) -> None:
    if going_down:
        notes.print("Without this node:")
        for line in going_down:
            notes.print(f"  {line}", soft_wrap=True)
        if not yes:
            click.confirm("Go on?", abort=True, err=True)


def _empty(connection: Connection, node: str, agreed: frozenset[str], deadline_s: float, *, yes: bool) -> None:
    """Watch the moves, stop what may go down, drain the rest."""
    cluster = connection.cluster
    look = _watch(follow_leaving(node, cluster, connection.registry, timeout_s=deadline_s))
    if failed := look.progress.failed:
        raise PermanentError(
            "\n".join(line for failure in failed for line in why_it_failed(failure, look.progress)),
            hint=f"nothing was stopped for it; once it serves, `aivailable drain {node}` goes on",
        )
    if look.stays:
        unforeseen = [f"{r.model} replica {r.replica} has no place elsewhere" for r in look.stays]
        if not {r.model for r in look.stays} <= agreed:
            _agree(unforeseen, yes=yes)
        for replica in look.stays:
            notes.print(f"  {replica.model} #{replica.replica}: stopped, as it has no place elsewhere")
            cluster.stop(replica.job)
    told: tuple[str, ...] = ()
    kill_timeout_s = connection.settings.kill_timeout_s
    for left in follow_drain(node, cluster, deadline_s=deadline_s, kill_timeout_s=kill_timeout_s):
        if left != told:
            told = left
            notes.print(f"  still on {node}: {', '.join(left)}")


def _watch(looks: Iterable[Leaving]) -> Leaving:
    """Show the looks as they come; gives the last one."""
    last: list[Leaving] = []

    def progress() -> Iterator[Progress]:
        for look in looks:
            last[:] = [look]
            yield look.progress

    following.show(progress())
    return last[0]
