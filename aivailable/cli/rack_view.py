"""The rack on a terminal: the same cards as on the page, each a bar of its tenants, to the scale of the largest."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from aivailable.controller.picture import CardPicture, NodePicture, Tenant
from aivailable.model.replica import ReplicaState

BLOCKS = 32
"""Of the largest card's bar; with it every line fits 80 columns."""
COLOURS = ("blue", "dark_orange", "green", "magenta", "medium_purple", "cyan", "yellow", "red3")
OTHERS = "bright_black"
USED, CLAIMED, FREE = "█", "▒", "░"
LEGEND = f"{USED} measured  {CLAIMED} claimed, not used  {FREE} free"
MIB_PER_GIB = 1024

NODE_STYLE = {"up": "bold", "down": "bold red"}
"""Any other state is one to look at."""
STATE_STYLE = {
    ReplicaState.SERVING: "green",
    ReplicaState.LOADING: "cyan",
    ReplicaState.FETCHING: "cyan",
    ReplicaState.PENDING: "yellow",
    ReplicaState.STOPPING: "yellow",
    ReplicaState.UNHEALTHY: "red",
    ReplicaState.LOST: "red",
}


def rack_view(nodes: Sequence[NodePicture], models: Sequence[str] = ()) -> RenderableType:
    """Nodes with their cards. `models`, in the fleet's order, keep their colours as long as that order is the same."""
    if not nodes:
        return Text("No node with cards is known; see `aivailable doctor`.")
    largest_mib = max((card.total_mib for node in nodes for card in node.cards), default=1)
    known = dict.fromkeys([*models, *(t.model for n in nodes for c in n.cards for t in c.tenants)])
    colours = {model: COLOURS[number % len(COLOURS)] for number, model in enumerate(known)}
    lines: list[Text] = []
    for node in nodes:
        lines.append(_node_line(node))
        for card in node.cards:
            lines += _card_lines(card, node, largest_mib, colours)
    return Group(*lines, Text(LEGEND, style="dim"))


def _node_line(node: NodePicture) -> Text:
    state = "" if node.state == "up" else f" ({node.state})"
    line = Text(f"{node.name}{state}", style=NODE_STYLE.get(node.state, "bold yellow"))
    where = ", ".join(part for part in (node.node_class, node.rack) if part)
    return line.append(f"  {where}", style="not bold dim") if where else line


def _card_lines(card: CardPicture, node: NodePicture, largest_mib: int, colours: dict[str, str]) -> list[Text]:
    title = Text(f"  {card.index} {card.name}")
    if not card.healthy:
        title.append("  unhealthy", style="bold red")
    bar = Text("    ").append_text(_bar(card, largest_mib, colours, dead=node.state == "down"))
    bar.append(f"  {_gib(card.booked_mib)} of {_gib(card.total_mib)} GiB")
    if card.in_use_mib is not None:
        bar.append(f", {_gib(card.in_use_mib)} in use")
    if card.foreign_mib:
        bar.append(f", {_gib(card.foreign_mib)} by others", style="yellow")
    lines = [title, bar, *(_tenant_line(tenant, colours) for tenant in card.tenants)]
    if card.other_mib:
        lines.append(Text(f"    ■ {_gib(card.other_mib)} GiB booked by other jobs", style=OTHERS))
    return lines


def _tenant_line(tenant: Tenant, colours: dict[str, str]) -> Text:
    line = Text("    ■ ", style=colours[tenant.model])
    line.append(f"{tenant.model} #{tenant.replica} ", style="default")
    line.append(tenant.state, style=STATE_STYLE[tenant.state])
    used = "" if tenant.measured_mib is None else f", {_gib(tenant.measured_mib)} measured"
    line.append(f": {_gib(tenant.claim_mib)} GiB claimed{used}", style="default")
    return line.append(", over its claim", style="bold red") if tenant.over else line


def _bar(card: CardPicture, largest_mib: int, colours: dict[str, str], *, dead: bool) -> Text:
    """The card's blocks. Each part ends where it ends on the card, so that rounding does not add up."""
    width = max(1, round(BLOCKS * card.total_mib / largest_mib))
    bar, at_mib = Text(style="dim" if dead else ""), 0

    def fill(sign: str, until_mib: int, style: str) -> None:
        bar.append(sign * (round(width * min(until_mib, card.total_mib) / card.total_mib) - len(bar)), style=style)

    for tenant in card.tenants:
        style = "red" if tenant.over or tenant.state in (ReplicaState.UNHEALTHY, ReplicaState.LOST) else ""
        style = style or colours[tenant.model]
        fill(USED, at_mib + min(tenant.claim_mib, tenant.measured_mib or 0), style)
        at_mib += tenant.claim_mib
        fill(CLAIMED, at_mib, style)
    fill(CLAIMED, at_mib + card.other_mib, OTHERS)
    fill(FREE, card.total_mib, OTHERS)
    return bar


def _gib(mib: int) -> str:
    return f"{mib / MIB_PER_GIB:.1f}"
