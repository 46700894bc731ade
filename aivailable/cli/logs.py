"""`aivailable logs`: what a model's engines print."""

import queue
import threading
import time
from contextlib import suppress

import click

from aivailable.cli.connection import Connection, connect
from aivailable.controller.observe import observe
from aivailable.errors import AivailableError, UserError
from aivailable.model.replica import Replica

LOOK_S = 0.5
FROM_THE_BEGINNING = 10_000
"""Lines; more than an engine prints while it starts."""


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
        _follow(connection, model, number, tail_lines)
        return
    for replica in replicas:
        for line in connection.cluster.logs(replica.job, tail_lines=tail_lines):
            click.echo((_prefix(replica) if len(replicas) > 1 else "") + line)


def _prefix(replica: Replica) -> str:
    return f"#{replica.replica} {replica.node}: "


def _follow(connection: Connection, model: str, number: int | None, tail_lines: int) -> None:
    """One reader per allocation, one printer. Engines that come later are read from their beginning.

    Ends with Ctrl-C, or when the last engine has ended and no job of the model is left.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    readers: dict[tuple[str, str], _Reader] = {}
    tail, any_job = tail_lines, True
    try:
        while any_job or not lines.empty() or any(reader.reads for reader in readers.values()):
            all_ = observe(connection.cluster, connection.registry).replicas
            mine = [r for r in all_ if r.model == model and number in (None, r.replica)]
            any_job = bool(mine)
            for replica in mine:
                known = readers.get((replica.job, replica.alloc))
                # An allocation that is too young to have a log is asked again.
                if replica.alloc and (known is None or not (known.reads or known.printed)):
                    readers[replica.job, replica.alloc] = _Reader(connection, replica, tail, lines)
            tail = FROM_THE_BEGINNING
            _print(lines)
    except KeyboardInterrupt:
        return


class _Reader:
    """Follows the log of one allocation into a queue, on a thread of its own."""

    def __init__(self, connection: Connection, replica: Replica, tail_lines: int, into: queue.SimpleQueue[str]) -> None:
        self.printed = False
        self._connection, self._replica, self._tail_lines, self._into = connection, replica, tail_lines, into
        self._thread = threading.Thread(target=self._read, daemon=True, name=f"logs-{replica.job}")
        self._thread.start()

    @property
    def reads(self) -> bool:
        """Whether there may be more to come."""
        return self._thread.is_alive()

    def _read(self) -> None:
        try:
            for line in self._connection.cluster.logs(self._replica.job, tail_lines=self._tail_lines, follow=True):
                self.printed = True
                self._into.put(_prefix(self._replica) + line)
        except AivailableError as error:  # its node may be gone; the others are read on
            self.printed = True
            self._into.put(f"{_prefix(self._replica)}not read any more: {error.message}")


def _print(lines: queue.SimpleQueue[str]) -> None:
    """What has come, and what comes within a moment."""
    deadline = time.monotonic() + LOOK_S
    while (left_s := deadline - time.monotonic()) > 0:
        with suppress(queue.Empty):
            click.echo(lines.get(timeout=left_s))
