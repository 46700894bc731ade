"""`aivailable undrain`: let a node take work again."""

import click

from aivailable.cli.connection import connect
from aivailable.cli.console import notes
from aivailable.cli.drain import require_node
from aivailable.controller.leaving import marked, unmark
from aivailable.controller.observe import observe


@click.command("undrain")
@click.argument("node")
@click.pass_obj
def command(cluster: str | None, node: str) -> None:
    """Let NODE take work again, or end its drain half-way; what has moved off stays where it is.

    Also removes what is left of a node that was drained and is gone for good.
    """
    connection = connect(cluster)
    marks = marked(connection.registry)
    snapshot = observe(connection.cluster, connection.registry)
    require_node(node, [*(known.name for known in snapshot.nodes), *marks])
    known = snapshot.node(node)
    if known is not None and known.eligible and node not in marks:
        notes.print(f"{node} takes work already")
        return
    # The mark first: a node that takes work while it has one would be emptied again.
    unmark(connection.registry, node)
    if known is None:
        notes.print(f"the cluster does not know {node}; its mark is removed")
        return
    connection.cluster.set_eligibility(node, eligible=True)
    notes.print(f"{node} takes work again; what is worth a move comes back by itself")
