"""How plans, cards and replicas look on a terminal, as rich renderables."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aivailable.cli.rack_view import STATE_STYLE
from aivailable.controller.apply import describe, model_of
from aivailable.controller.history import Happened
from aivailable.controller.picture import ModelPicture, on_cards
from aivailable.model.fleet import Fleet
from aivailable.model.plan import CardUse, Plan, Unplaced
from aivailable.model.replica import Replica
from aivailable.model.snapshot import Snapshot
from aivailable.placement import Hole, Survival

BAR_WIDTH = 10
"""Blocks of one bar; with it every table of cards fits 80 columns."""


def plan_view(plan: Plan, snapshot: Snapshot) -> RenderableType:
    """The cards before and after, the actions in order, and what is not placed and why."""
    parts: list[RenderableType] = [cards_view(plan.cards, snapshot)]
    if plan.actions:
        parts.append(Text("\nActions, in this order", style="bold"))
        listed = Table.grid(padding=(0, 1))
        listed.add_column(justify="right", no_wrap=True)
        listed.add_column(overflow="fold")
        for number, action in enumerate(plan.actions, 1):
            listed.add_row(f"  {number}.", f"{model_of(action)}: {describe(action)}")
        parts.append(listed)
    elif not plan.unplaced and not plan.deferred:
        parts.append(Text("\nNothing to do: everything is as the fleet wants it."))
    parts.extend(
        Text(f"\n{later.model}, replica {later.replica}{_and_more(later.count)}: later. {later.why}", style="yellow")
        for later in plan.deferred
    )
    parts.extend(_unplaced_view(unplaced) for unplaced in plan.unplaced)
    return Group(*parts)


def cards_view(cards: Sequence[CardUse], snapshot: Snapshot) -> RenderableType:
    """Every card with its booked VRAM before and after the plan."""
    title = "VRAM booked, simulated cards" if snapshot.simulated else "VRAM booked"
    table = _table("Node", "Card", "Before", "After", "MiB", title=title)
    for use, node in zip(cards, _once([use.node for use in cards]), strict=True):
        table.add_row(
            node,
            use.name,
            _bar(use.before_mib, use.before_mib, use.total_mib),
            _bar(use.before_mib, use.after_mib, use.total_mib),
            f"{use.before_mib} → {use.after_mib} of {use.total_mib}",
        )
    return table


def replicas_view(fleet: Fleet, snapshot: Snapshot) -> RenderableType:
    """One row per replica: where it is and how it is; below, what the states do not say."""
    table = _table("Model", "#", "State", "Node", "Card", "MiB")
    rows = sorted(snapshot.replicas, key=lambda r: (r.model, r.replica, r.job))
    for replica in rows:
        table.add_row(
            replica.model,
            str(replica.replica),
            Text(replica.state, style=STATE_STYLE[replica.state]),
            replica.node or "-",
            card_names(replica, snapshot) or "-",
            str(sum(replica.claim_mib)) if replica.claim_mib else "-",
        )
    for model in fleet.models:
        if not any(r.model == model.name for r in rows):
            table.add_row(model.name, "-", Text("not placed", style="red"), "-", "see `aivailable plan`", "-")
    notes = [Text(f"  {r.model} #{r.replica}: {r.note}", style="yellow") for r in rows if r.note]
    return Group(table, *notes)


def missing_view(models: Sequence[ModelPicture]) -> RenderableType:
    """What the fleet asks for and does not get, one line each: no room, a turn to wait for, a version given up."""
    style = {"down": "red"}
    lines = [
        Text(f"  {m.name}: {words}", style=style.get(m.condition, "yellow")) for m in models for words in m.missing
    ]
    return Group(*lines)


def _table(*headings: str, title: str | None = None) -> Table:
    """A plain table whose MiB column stands right and whose card names give way first."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in headings:
        if heading in {"Card", "Model"}:
            table.add_column(heading, overflow="ellipsis", no_wrap=True)
        else:
            table.add_column(heading, no_wrap=True, justify="right" if heading == "MiB" else "left")
    return table


def _once(names: Sequence[str]) -> list[str]:
    """Each name where it first appears in a run of equal ones, else nothing."""
    return [name if index == 0 or name != names[index - 1] else "" for index, name in enumerate(names)]


def events_view(entries: Iterable[Happened]) -> RenderableType:
    """What happened, one line each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for entry in entries:
        table.add_row(time.strftime("%H:%M:%S", time.localtime(entry.at_s)), entry.about, entry.text)
    return table


def card_names(replica: Replica, snapshot: Snapshot) -> str:
    """The names of the cards a replica uses."""
    cards = [snapshot.card(uuid) for uuid in replica.cards]
    return ", ".join(card.name for card in cards if card)


def _unplaced_view(unplaced: Unplaced) -> RenderableType:
    more = unplaced.count - 1
    others = f" and {more} more of it are" if more else " is"
    lines = [Text(f"\n{unplaced.model}, replica {unplaced.replica},{others} not placed", style="bold red")]
    for reason in unplaced.reasons:
        lines.append(Text(f"  {reason.rule}{on_cards(reason.count)}: {reason.text}"))
        lines.extend(
            Text(f"      {near.card} on {near.node} is {near.short_mib} MiB short")
            for near in reason.nearest
            if near.short_mib
        )
    if unplaced.would_help:
        lines.append(Text("  would help: " + "; or ".join(unplaced.would_help)))
    return Group(*lines)


def _and_more(count: int) -> str:
    return f" and {count - 1} more" if count > 1 else ""


def survival_view(nodes: Sequence[str], models: Sequence[Survival]) -> RenderableType:
    """What is left of every model when nodes are lost."""
    one = len(nodes) == 1
    table = _table("Model", "Wanted", "Left", "Elsewhere", "No place", title=f"\nWithout {' and '.join(nodes)}")
    for model in models:
        style = (
            "red" if model.left + model.replaced == 0 else "yellow" if model.left == 0 or model.unplaced else "green"
        )
        counts = (model.wanted, model.left, model.replaced, model.unplaced)
        table.add_row(model.model, *(str(count) for count in counts), style=style)
    out = [model.model for model in models if model.left == 0]
    silent = f"Until others have loaded nothing serves {', '.join(out)}." if out else "Every model serves on meanwhile."
    return Group(table, Text(f"{silent} {'The node is' if one else 'The nodes are'} only thought away."))


def hole_view(hole: Hole) -> RenderableType:
    """What a defragmentation wins."""
    if hole.after_mib == hole.before_mib:
        return Text(f"\nThe largest hole has {hole.before_mib} MiB; no move makes a larger one.")
    return Text(
        f"\nThe largest hole grows from {hole.before_mib} to {hole.after_mib} MiB, on {hole.card} ({hole.node})."
        " A proposal: nothing is moved for it."
    )


def _bar(before_mib: int, after_mib: int, total_mib: int) -> Text:
    """Booked memory as blocks: what stays, what comes (green) or what goes (yellow)."""

    def blocks(mib: int) -> int:
        return min(BAR_WIDTH, -(-mib * BAR_WIDTH // total_mib))

    stays, comes = blocks(min(before_mib, after_mib)), blocks(after_mib) - blocks(before_mib)
    bar = Text("█" * stays, style="cyan")
    bar.append("█" * max(0, comes), style="green")
    bar.append("▒" * max(0, -comes), style="yellow")
    bar.append("░" * (BAR_WIDTH - stays - abs(comes)), style="bright_black")
    return bar
