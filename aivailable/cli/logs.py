"""`aivailable logs`: what a model's engines print."""

import queue
import threading
import time
from contextlib import suppress

import click

from aivailable.cli.connection import Connection, connect
from aivailable.controller.observe import Observer, observe
from aivailable.errors import AivailableError, RetryableError, UserError
from aivailable.model.replica import Replica

LOOK_S = 0.5
TRIES = 10
"""How often a log that cannot be read is tried again before the others are read without it."""
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
    observer = Observer(connection.cluster, connection.registry)
    tail, mine = tail_lines, [r for r in observer.look().replicas if r.model == model]
    try:
        while mine or not lines.empty() or any(reader.reads for reader in readers.values()):
            for replica in mine:
                key = (replica.job, replica.alloc)
                known = readers.get(key)
                if replica.alloc and number in (None, replica.replica) and (known is None or known.too_young):
                    readers[key] = _Reader(connection, replica, known.tail_lines if known else tail, lines)
            tail = FROM_THE_BEGINNING
            _print(lines)
            with suppress(RetryableError):  # what is read is read on, whoever does not answer for a moment
                mine = [r for r in observer.look().replicas if r.model == model]
    except KeyboardInterrupt:
        return


class _Reader:
    """Follows the log of one allocation into a queue, on a thread of its own."""

    def __init__(self, connection: Connection, replica: Replica, tail_lines: int, into: queue.SimpleQueue[str]) -> None:
        self.tail_lines = tail_lines
        self._said = False
        self._connection, self._replica, self._into = connection, replica, into
        self._thread = threading.Thread(target=self._read, daemon=True, name=f"logs-{replica.job}")
        self._thread.start()

    @property
    def reads(self) -> bool:
        """Whether there may be more to come."""
        return self._thread.is_alive()

    @property
    def too_young(self) -> bool:
        """Whether there was no log yet: it is to be read again."""
        return not self.reads and not self._said

    def _read(self) -> None:
        tail, tries = self.tail_lines, 0
        while tries < TRIES:
            try:
                for line in self._connection.cluster.logs(self._replica.job, tail_lines=tail, follow=True):
                    self._said, tries = True, 0
                    self._into.put(_prefix(self._replica) + line)
            except RetryableError as error:  # its node may be gone, or slow
                tail, tries, why = 0, tries + 1, error.message
                time.sleep(LOOK_S)
            except AivailableError as error:
                tries, why = TRIES, error.message
            else:
                return
        self._said = True
        self._into.put(f"{_prefix(self._replica)}not read any more: {why}")


def _print(lines: queue.SimpleQueue[str]) -> None:
    """What has come, and what comes within a moment."""
    deadline = time.monotonic() + LOOK_S
    while (left_s := deadline - time.monotonic()) > 0:
        with suppress(queue.Empty):
            click.echo(lines.get(timeout=left_s))
