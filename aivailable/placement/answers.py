"""Every card's answer to one more replica of one model, for whoever wants the full list."""

from dataclasses import dataclass

from aivailable.model.cards import Card, Node
from aivailable.model.fleet import Fleet, ModelSpec, Variant
from aivailable.model.snapshot import Snapshot
from aivailable.placement.planner import Planner


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a card says to a variant: `takes` it now, claiming `claim_mib` of it, or the `rule` that forbids it.

    `text` is the sentence, `short_mib` what is missing where the rule is about memory.
    """

    node: Node
    card: Card
    variant: Variant
    takes: bool
    text: str
    rule: str = ""
    claim_mib: int = 0
    short_mib: int = 0


def answers(fleet: Fleet, spec: ModelSpec, snapshot: Snapshot) -> tuple[Answer, ...]:
    """One answer for each card and variant, by node and card."""
    planner = Planner()
    rack = planner.rack(snapshot)
    options = planner.options(fleet, spec)
    found: list[tuple[int, int, Answer]] = []
    for option in (o for group in options.by_variant for o in group):
        for index in rack.members[option.kind]:
            card, node = rack.cards[index], rack.nodes[rack.node_of[index]]
            claim_mib, free_mib = option.slices * card.slice_mib, max(rack.free[index], 0) * card.slice_mib
            takes = claim_mib <= free_mib
            each = "" if option.cards == 1 else f" on each of {option.cards} equal cards"
            text = (
                f"can take it: {claim_mib} MiB{each}, {free_mib - claim_mib} MiB stay free"
                if takes
                else f"needs {claim_mib} MiB{each}, more than is free on the card"
            )
            answer = Answer(
                node=node,
                card=card,
                variant=spec.variants[option.order],
                takes=takes,
                text=text,
                rule="" if takes else "free memory",
                claim_mib=claim_mib,
                short_mib=max(0, claim_mib - free_mib),
            )
            found.append((index, option.order, answer))
    for refusal in options.refused:
        no = refusal.no
        for index in rack.members[refusal.kind]:
            answer = Answer(
                node=rack.nodes[rack.node_of[index]],
                card=rack.cards[index],
                variant=spec.variants[refusal.order],
                takes=False,
                text=no.text,
                rule=no.rule,
                short_mib=no.short_mib,
            )
            found.append((index, refusal.order, answer))
    return tuple(answer for _, _, answer in sorted(found, key=lambda entry: entry[:2]))
