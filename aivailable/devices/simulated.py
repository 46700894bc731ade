"""Simulated cards from a TOML file, one file for a rack of nodes."""

import difflib
import tomllib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aivailable.devices.inventory import CardProcess, Reading, with_vanished
from aivailable.errors import RetryableError, UserError
from aivailable.model.cards import SLICE_MIB, Card, Node, Vendor

NODE_KEYS: Mapping[str, type] = {"name": str, "class": str, "rack": str, "card": list}
CARD_KEYS: Mapping[str, type] = {
    "vendor": str,
    "name": str,
    "memory_mib": int,
    "compute_capability": float,
    "gfx": str,
    "bandwidth_gb_s": float,
    "uuid": str,
    "index": int,
    "driver_version": str,
    "pci": str,
    "healthy": bool,
    "foreign_mib": int,
}
_TYPE_NAMES = {
    bool: "true or false",
    str: "a string",
    int: "a whole number",
    float: "a number",
    list: "a list of tables",
}
_UUID_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "simulated.aivailable")


class SimulatedInventory:
    """One node of a file of simulated cards, read anew whenever the file changes.

    A card that leaves the file stays as an unhealthy one, as a card that falls off its bus does.
    """

    name = "simulated"

    def __init__(self, file: Path, node: str = "") -> None:
        self._file = file
        self._node = node
        self._seen: dict[str, Reading] = {}
        self._version = 0

    def read(self) -> tuple[Reading, ...]:
        """The cards as the file has them; see `aivailable.devices.inventory.Inventory`."""
        try:
            version = self._file.stat().st_mtime_ns
            if version != self._version:
                nodes = load_nodes(self._file.read_text(), where=str(self._file))
                self._take(next(node for node in nodes if not self._node or node.name == self._node))
                self._version = version
        except (OSError, UnicodeDecodeError) as error:
            raise RetryableError(f"{self._file}: {error}") from error
        except UserError as error:
            raise RetryableError(error.message, hint=error.hint) from error
        except StopIteration:
            raise RetryableError(f"{self._file}: the node {self._node!r} has gone") from None
        return tuple(self._seen.values())

    def _take(self, node: Node) -> None:
        self._seen = with_vanished(map(_reading, node.cards), self._seen)


def _reading(card: Card) -> Reading:
    stranger = (CardProcess(pid=1, used_mib=card.foreign_mib),) if card.foreign_mib else ()
    return Reading(card=card, why="" if card.healthy else "marked unhealthy in its file", processes=stranger)


def load_nodes(text: str, *, where: str) -> tuple[Node, ...]:
    """Nodes with simulated cards; ids and missing uuids follow from names, so they stay the same from run to run.

    Args:
        text: TOML: `[[node]]` with `name`, optional `class` and `rack`, and `[[node.card]]` with `vendor`, `name`,
            `memory_mib` as the driver reports it, `compute_capability` (NVIDIA) or `gfx` (AMD), optional
            `bandwidth_gb_s`, `uuid`, `index` (default: its place in the list), `driver_version`, `pci`; `healthy` and
            `foreign_mib`, what a program that is no task holds, to try what happens then.
        where: What to call the file in messages.

    Raises:
        UserError: Anything wrong, with key path and nearest valid name.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not TOML: {error}", hint="correct that line") from error
    _check(document, {"node": list}, (), where, "")
    tables = document.get("node", [])
    nodes = tuple(_node(table, f"node[{index}]", where) for index, table in enumerate(tables))
    if not nodes:
        raise UserError(f"{where}: node: missing", hint="an inventory needs at least one [[node]]")
    names = [node.name for node in nodes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{where}: two nodes are named {twice!r}", hint="give each node its own name")
    uuids = [card.uuid for node in nodes for card in node.cards]
    if twice := next((one for one in uuids if uuids.count(one) > 1), None):
        raise UserError(f"{where}: two cards have the uuid {twice!r}", hint="give each card its own uuid, or none")
    return nodes


def _node(table: Any, path: str, where: str) -> Node:
    _check(table, NODE_KEYS, ("name",), where, path)
    name = table["name"]
    cards = tuple(
        _card(card, name, index, f"{path}.card[{index}]", where) for index, card in enumerate(table.get("card", []))
    )
    indices = [card.index for card in cards]
    if twice := next((f"{one}" for one in indices if indices.count(one) > 1), ""):
        raise UserError(f"{where}: {path}: two cards have the index {twice}", hint="give every card an index, or none")
    return Node(
        id=str(uuid.uuid5(_UUID_SPACE, name)),
        name=name,
        node_class=table.get("class", ""),
        rack=table.get("rack", ""),
        vendor_plugin="simulated",
        cards=cards,
    )


def _card(table: Any, node: str, position: int, path: str, where: str) -> Card:
    _check(table, CARD_KEYS, ("vendor", "name", "memory_mib"), where, path)
    if table["vendor"] not in list(Vendor):
        raise UserError(f"{where}: {path}.vendor: {table['vendor']!r}", hint=f"expected {' or '.join(Vendor)}")
    vendor = Vendor(table["vendor"])
    kind = "compute_capability" if vendor is Vendor.NVIDIA else "gfx"
    if kind not in table:
        raise UserError(f"{where}: {path}.{kind}: missing", hint=f"a card of {vendor} needs `{kind}`")
    if table["memory_mib"] < SLICE_MIB:
        raise UserError(f"{where}: {path}.memory_mib: {table['memory_mib']}", hint=f"at least {SLICE_MIB}")
    index = table.get("index", position)
    if index < 0:
        raise UserError(f"{where}: {path}.index: {index}", hint="indices count from 0")
    return Card(
        uuid=table.get("uuid") or _uuid(vendor, f"{node}/{index}"),
        index=index,
        vendor=vendor,
        name=table["name"],
        total_mib=table["memory_mib"],
        compute_capability=table.get("compute_capability"),
        gfx=table.get("gfx"),
        bandwidth_gb_s=table.get("bandwidth_gb_s"),
        driver_version=table.get("driver_version", ""),
        pci=table.get("pci", ""),
        simulated=True,
        healthy=table.get("healthy", True),
        used_mib=table.get("foreign_mib", 0),
        foreign_mib=table.get("foreign_mib", 0),
        free_slices=table["memory_mib"] // SLICE_MIB,
    )


def _uuid(vendor: Vendor, name: str) -> str:
    """A uuid that stays the same from run to run, in the form of the vendor's driver."""
    made = uuid.uuid5(_UUID_SPACE, name)
    return f"GPU-{made}" if vendor is Vendor.NVIDIA else f"GPU-{made.hex[:16]}"


def _check(table: Any, keys: Mapping[str, type], required: tuple[str, ...], where: str, path: str) -> None:
    """Refuse unknown keys, wrong types and missing keys of one table."""
    if not isinstance(table, dict):
        raise UserError(f"{where}: {path}: expected a table", hint="write [[node]] and [[node.card]]")
    prefix = f"{path}." if path else ""
    for key, value in table.items():
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"valid keys here: {', '.join(keys)}"
            raise UserError(f"{where}: {prefix}{key}: unknown key", hint=hint)
        kinds = (int, float) if keys[key] is float else (keys[key],)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UserError(
                f"{where}: {prefix}{key}: expected {_TYPE_NAMES[keys[key]]}, got {value!r}", hint="correct that value"
            )
    for key in required:
        if key not in table:
            raise UserError(f"{where}: {prefix}{key}: missing", hint=f"add `{key}`")
