"""Constraints and affinities on attributes, compared as Nomad compares them."""

import re
from collections.abc import Mapping

from aivailable.embedded.jobspec import Condition
from aivailable.errors import UserError
from aivailable.model.cards import Node

AttributeValue = str | int | float | bool

_ATTRIBUTE = re.compile(r"\$\{(.+)\}")
_MIB = {"MiB": 1.0, "GiB": 1024.0, "MB": 1e6 / 2**20, "GB": 1e9 / 2**20}
_QUANTITY = re.compile(r"([0-9.]+) ?(MiB|GiB|MB|GB)")


def node_attributes(node: Node) -> dict[str, AttributeValue]:
    """What `${node.…}` and `${meta.…}` stand for on a node."""
    return {
        "node.unique.id": node.id,
        "node.unique.name": node.name,
        "node.class": node.node_class,
        **{f"meta.{key}": value for key, value in node.meta.items()},
    }


def known_attribute(name: str) -> bool:
    """Whether the embedded cluster knows an attribute of that name at all."""
    return name in node_attributes(Node(id="", name="")) or name.startswith(("meta.", "device.attr."))


def holds(condition: Condition, attributes: Mapping[str, AttributeValue]) -> bool:
    """Whether a condition holds; one on a missing attribute never does, as in Nomad.

    Raises:
        UserError: An attribute that the embedded cluster does not know.
    """
    found = _ATTRIBUTE.fullmatch(condition.attribute)
    if not found or not known_attribute(found[1]):
        raise UserError(
            f"attribute {condition.attribute!r} is not imitated by the embedded cluster",
            hint="use ${node.unique.id}, ${node.unique.name}, ${node.class}, ${meta.X} or ${device.attr.X}",
        )
    value = attributes.get(found[1].removeprefix("device.attr."), attributes.get(found[1]))
    if condition.operator == "is_set":
        return value is not None
    if value is None:
        return False
    if condition.operator == "regexp":
        return re.search(condition.value, str(value)) is not None
    if condition.operator == "set_contains_any":
        have = {part.strip() for part in str(value).split(",")}
        return any(part.strip() in have for part in condition.value.split(","))
    return _compare(condition.operator, value, condition.value)


def _compare(operator: str, value: AttributeValue, wanted: str) -> bool:
    """Numbers and sizes by value, all else as text."""
    left, right = _number(value), _number(wanted)
    if left is not None and right is not None:
        order = (left > right) - (left < right)
    else:
        order = (str(value) > wanted) - (str(value) < wanted)
    outcome = {"=": order == 0, "!=": order != 0, ">": order > 0, ">=": order >= 0, "<": order < 0, "<=": order <= 0}
    return outcome[operator]


def _number(value: AttributeValue) -> float | None:
    """A number, or a size in MiB; device attributes of memory are plain MiB."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if size := _QUANTITY.fullmatch(value):
        return float(size[1]) * _MIB[size[2]]
    try:
        return float(value)
    except ValueError:
        return None
