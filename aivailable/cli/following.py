"""Shows progress per replica on stderr until the fleet serves: a live table on a terminal, else one line per change."""

from collections.abc import Iterable

from rich.live import Live
from rich.table import Table
from rich.text import Text

from aivailable.cli.console import notes
from aivailable.cli.rack_view import STATE_STYLE
from aivailable.cli.views import card_names
from aivailable.controller.follow import Progress
from aivailable.model.replica import Replica


def show(looks: Iterable[Progress]) -> Progress:
    """Draw the looks as they come; gives the last one."""
    return _show_live(looks) if notes.is_terminal else _show_lines(looks)


def _show_live(looks: Iterable[Progress]) -> Progress:
    last: Progress | None = None
    with Live(console=notes, refresh_per_second=8) as live:
        for last in looks:
            live.update(_table(last))
    return _some(last)


def _show_lines(looks: Iterable[Progress]) -> Progress:
    last: Progress | None = None
    told: dict[str, str] = {}
    for last in looks:
        for replica in last.replicas:
            line = _line(replica, last)
            if told.get(replica.job) != line:
                told[replica.job] = line
                notes.print(line)
    return _some(last)


def _some(last: Progress | None) -> Progress:
    if last is None:
        raise AssertionError("following gives at least one look")
    return last


def _table(look: Progress) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(5):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for replica in look.replicas:
        table.add_row(
            f"  {replica.model} #{replica.replica}",
            Text(replica.state, style=STATE_STYLE[replica.state]),
            replica.node,
            card_names(replica, look.snapshot),
            replica.note or _took(replica),
        )
    return table


def _line(replica: Replica, look: Progress) -> str:
    where = f" on {replica.node}, {card_names(replica, look.snapshot)}" if replica.node else ""
    extra = replica.note or _took(replica)
    return f"  {replica.model} #{replica.replica}: {replica.state}{where}{f' ({extra})' if extra else ''}"


def _took(replica: Replica) -> str:
    return f"in {replica.load_s:.1f} s" if replica.load_s is not None else ""
