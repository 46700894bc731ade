"""`aivailable logs`: what a model's engines print."""

import queue
import threading

import click

from aivailable.cli.connection import Connection, connect
from aivailable.controller.observe import observe
from aivailable.errors import UserError
from aivailable.model.replica import Replica

LOOK_S = 0.5


@click.command("logs")
@click.argument("model")
@click.option("-f", "--follow", "follow_", is_flag=True, help="Keep printing until Ctrl-C.")
@click.option(
    "-n", "--tail", "tail_lines", type=click.IntRange(min=0), default=50, show_default=True, help="Last lines."
)
@click.option("--replica", "number", type=click.IntRange(min=0), help="Only this replica.")
@click.pass_obj
def command(cluster: str | None, model: str, tail_lines: int, number: int | None, *, follow_: bool) -> None:
    """Print what the engines of MODEL wrote, oldest line first."""
    connection = connect(cluster)
    all_ = [r for r in observe(connection.cluster, connection.registry).replicas if r.model == model]
    replicas = [r for r in all_ if number in (None, r.replica)]
    if not replicas and all_:
        there = ", ".join(str(n) for n in sorted({r.replica for r in all_}))
        raise UserError(
            f"{model!r} has no replica {number} now", hint=f"its replicas are {there}; a move renumbers one"
        )
    if not replicas:
        raise UserError(f"no replica of {model!r} has a job", hint="see `aivailable status`")
    if follow_:
        _follow(connection, replicas, tail_lines)
        return
    for replica in replicas:
        for line in connection.cluster.logs(replica.job, tail_lines=tail_lines):
            click.echo(_prefix(replica, replicas) + line)


def _prefix(replica: Replica, replicas: list[Replica]) -> str:
    return f"#{replica.replica} {replica.node}: " if len(replicas) > 1 else ""


def _follow(connection: Connection, replicas: list[Replica], tail_lines: int) -> None:
    """One reader per replica, one printer; ends with Ctrl-C or when every engine has ended."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read(replica: Replica) -> None:
        for line in connection.cluster.logs(replica.job, tail_lines=tail_lines, follow=True):
            lines.put(_prefix(replica, replicas) + line)

    readers = [threading.Thread(target=read, args=(r,), daemon=True, name=f"logs-{r.job}") for r in replicas]
    for reader in readers:
        reader.start()
    try:
        while any(reader.is_alive() for reader in readers) or not lines.empty():
            try:
                click.echo(lines.get(timeout=LOOK_S))
            except queue.Empty:
                continue
    except KeyboardInterrupt:
        return
