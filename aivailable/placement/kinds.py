"""Kinds of cards: those that no rule and no footprint tells apart. What holds for one card of a kind holds for all."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from aivailable.model.cards import Card, Node
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.placement.judge import No

WHERE = "where"
"""The rule of a model that the user wants on some cards only."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A sample card on a sample node, and the rule that keeps every model away from this kind (None: none does)."""

    node: Node
    card: Card
    slices: int
    slice_mib: int
    rule: No | None


class Kinds:
    """All kinds met so far, by number. Numbers stay, so that what was judged once is known for the next plan."""

    def __init__(self) -> None:
        self.all: list[Kind] = []
        self._numbers: dict[tuple[object, ...], int] = {}

    def number(self, node: Node, card: Card, *, twice: bool = False) -> int:
        """The number of the card's kind; `twice`: another card reports the same uuid."""
        key = (
            *(card.vendor, card.name, card.total_mib, card.compute_capability, card.gfx, card.bandwidth_gb_s),
            *(card.slice_mib, card.device_type, card.simulated, card.healthy, twice),
            *(
                node.ready,
                node.eligible,
                node.leaving,
                node.silent,
                node.node_class,
                node.vendor_plugin,
                node.drivers,
                node.bridge,
            ),
        )
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.all)
            rule = _rule(node, card, twice=twice)
            self.all.append(Kind(node=node, card=card, slices=card.slices, slice_mib=card.slice_mib, rule=rule))
        return number


def rule_of_model(fleet: Fleet, model: ModelSpec, kind: Kind) -> No | None:
    """The rule of the model, its `where` or the fleet's driver, that forbids a kind whatever the size; or None."""
    where, node, card = model.where, kind.node, kind.card
    driver = driver_of(fleet, simulated=card.simulated)
    if node.drivers and driver not in node.drivers:
        return No(rule="driver", text=f"the node has no healthy task driver `{driver}`")
    if fleet.mesh == "bridge" and not node.bridge:
        return No(rule="mesh", text='the node has no CNI plugins, which mesh = "bridge" needs')
    if where.vendor and where.vendor != card.vendor:
        return No(rule=WHERE, text=f"`where` asks for vendor = {where.vendor}")
    if where.node_class and where.node_class != node.node_class:
        return No(rule=WHERE, text=f"`where` asks for class = {where.node_class}")
    if where.card and not fnmatchcase(card.name.lower(), where.card.lower()):
        return No(rule=WHERE, text=f"`where` asks for card = {where.card}")
    return None


def driver_of(fleet: Fleet, *, simulated: bool) -> str:
    """Nomad's task driver: the fleet's, else plain processes on a simulated rack and containers on a real one."""
    return fleet.driver or ("raw_exec" if simulated else "docker")


def _not_taking(node: Node) -> str | None:
    """Why a node takes no work, as the rest of a sentence; None when it does."""
    if not node.ready:
        return "is down"
    if node.leaving:
        return "is to be emptied"
    if node.silent:
        return "is not heard of by Consul"
    return None if node.eligible else "is draining"


def _rule(node: Node, card: Card, *, twice: bool) -> No | None:
    if (state := _not_taking(node)) is not None:
        return No(rule="node", text=f"the node {state}")
    if "+" in node.vendor_plugin:
        return No(
            rule="plugin",
            text=f"the node has two device plugins ({node.vendor_plugin}) that would book its cards twice",
        )
    if twice:
        return No(rule="uuid", text="two cards report the same uuid, so that nobody could tell which one is booked")
    if not card.healthy:
        return No(rule="health", text="the card is unhealthy")
    if card.slice_mib < 1 or card.slices < 1:
        return No(rule="card size", text=f"the card has {card.total_mib} MiB, less than one slice of {card.slice_mib}")
    return None
