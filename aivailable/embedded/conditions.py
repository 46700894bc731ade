"""Constraints and affinities on attributes, compared as Nomad compares them.

Source: Nomad's `scheduler/feasible` (checkConstraint for nodes, checkAttributeConstraint for devices) and
`plugins/shared/structs/attribute.go`. A missing attribute meets nothing but `!=`.
"""

import re
from collections.abc import Mapping
from typing import Any

from aivailable.embedded.job import Condition
from aivailable.model.cards import Node

AttributeValue = str | int | float | bool

DEVICE_PREFIX = "device.attr."
META_PREFIX = "meta."
OPERATORS = ("=", "!=", ">", ">=", "<", "<=", "regexp", "set_contains_any", "is_set")

_MIB = {"MiB": 1.0, "GiB": 1024.0, "MB": 1e6 / 2**20, "GB": 1e9 / 2**20}
_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?) ?(MiB|GiB|MB|GB)?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SIZES_MIB = frozenset({"memory"})
"""Device attributes that carry a unit in Nomad: they compare with sizes only, the other numbers with bare ones."""


def node_attributes(node: Node) -> dict[str, str]:
    """What `${node.…}` and `${meta.…}` stand for on a node."""
    return {
        "node.unique.id": node.id,
        "node.unique.name": node.name,
        "node.class": node.node_class,
        **{f"{META_PREFIX}{key}": value for key, value in node.meta.items()},
    }


NODE_ATTRIBUTES = frozenset(node_attributes(Node(id="", name="")))
"""The attributes that every node has."""


def node_holds(condition: Condition, attributes: Mapping[str, str]) -> bool:
    """Whether a condition holds on a node: equality by text, order by number where both are numbers."""
    value = attributes.get(condition.attribute[2:-1])
    if condition.operator in {"=", "!="}:
        return (value == condition.value) is (condition.operator == "=")
    if condition.operator == "is_set":
        return value is not None
    if value is None:
        return False
    if condition.operator in {"regexp", "set_contains_any"}:
        return _text_holds(condition, value)
    left, right = _NUMBER.fullmatch(value), _NUMBER.fullmatch(condition.value)
    if left and right and not left[2] and not right[2]:
        return _ordered(condition.operator, float(left[1]), float(right[1]))
    return _ordered(condition.operator, value, condition.value)


def device_holds(condition: Condition, attributes: Mapping[str, AttributeValue]) -> bool:
    """Whether a condition holds on a device group.

    Nomad gives the written value a kind by its looks, and different kinds do not compare at all: `regexp "2080"`
    never matches a name, and memory compares with sizes only.
    """
    name = condition.attribute[2:-1].removeprefix(DEVICE_PREFIX)
    value = attributes.get(name)
    if condition.operator == "is_set":
        return value is not None
    if value is None:
        return condition.operator == "!="
    kind, have = _kind_of(name, value)
    wanted_kind, wanted = _kind_of_text(condition.value)
    if kind != wanted_kind:
        return False
    if condition.operator in {"regexp", "set_contains_any"}:
        return isinstance(have, str) and _text_holds(condition, have)
    return _ordered(condition.operator, have, wanted)


def _kind_of(name: str, value: AttributeValue) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int | float):
        return ("size" if name in _SIZES_MIB else "number"), float(value)
    return "text", value


def _kind_of_text(text: str) -> tuple[str, Any]:
    if number := _NUMBER.fullmatch(text):
        return ("size", float(number[1]) * _MIB[number[2]]) if number[2] else ("number", float(number[1]))
    return ("boolean", _BOOLEANS[text]) if text in _BOOLEANS else ("text", text)


def _text_holds(condition: Condition, value: str) -> bool:
    if condition.operator == "regexp":
        return re.search(condition.value, value) is not None
    have = {part.strip() for part in value.split(",")}
    return any(part.strip() in have for part in condition.value.split(","))


def _ordered(operator: str, left: Any, right: Any) -> bool:
    outcomes = {"=": left == right, "!=": left != right, ">": left > right, ">=": left >= right, "<": left < right}
    return bool(outcomes.get(operator, left <= right))
