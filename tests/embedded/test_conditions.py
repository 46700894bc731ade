"""Outcomes as in Nomad's scheduler/feasible and plugins/shared/structs/attribute.go."""

import pytest

from aivailable.embedded.conditions import device_holds, node_attributes, node_holds
from aivailable.embedded.job import Condition
from tests.samples import node

DEVICE = {
    "compute_capability": 7.5,
    "memory": 15360,
    "model": "RTX 2080 Ti",
    "index": 1,
    "simulated": True,
    "driver_version": "570",
}


def condition(attribute: str, operator: str, value: str) -> Condition:
    return Condition(attribute=f"${{{attribute}}}", operator=operator, value=value)


@pytest.mark.parametrize(
    ("attribute", "operator", "value", "expected"),
    [
        ("compute_capability", ">=", "7.5", True),
        ("compute_capability", ">=", "8.0", False),
        ("compute_capability", ">=", "10.0", False),
        ("compute_capability", "=", "7.50", True),
        ("memory", ">=", "12 GiB", True),
        ("memory", ">=", "12GiB", True),
        ("memory", ">=", "11000 MiB", True),
        ("memory", ">=", "16000 MiB", False),
        ("memory", "<", "17 GB", True),
        ("memory", ">=", "11000", False),  # a size does not compare with a bare number
        ("index", "=", "1", True),
        ("index", "!=", "1", False),
        ("index", "!=", "x", False),  # of different kinds: does not compare
        ("simulated", "=", "true", True),
        ("simulated", "!=", "true", False),
        ("gfx", "is_set", "", False),
        ("model", "is_set", "", True),
        ("gfx", "=", "gfx906", False),
        ("gfx", "!=", "gfx906", True),
        ("gfx", "regexp", ".*", False),
        ("model", "=", "RTX 2080 Ti", True),
        ("model", "regexp", "RTX 2080", True),
        ("model", "regexp", "2080", False),  # read as a number
        ("model", "set_contains_any", "x,RTX 2080 Ti", True),
        ("model", "set_contains_any", "RTX", False),
        ("index", "set_contains_any", "1", False),
        ("driver_version", ">=", "570", False),  # text published, number asked
    ],
)
def test_device_attributes_compare_as_in_nomad(attribute: str, operator: str, value: str, expected: bool) -> None:
    assert device_holds(condition(f"device.attr.{attribute}", operator, value), DEVICE) is expected


@pytest.mark.parametrize(
    ("attribute", "operator", "value", "expected"),
    [
        ("node.class", "=", "gpu", True),
        ("node.class", "!=", "gpu", False),
        ("node.unique.name", "regexp", "^n[0-9]$", True),
        ("node.unique.id", "=", "id-n1", True),
        ("meta.rack", "=", "10", True),
        ("meta.rack", "=", "10.0", False),  # equality is of texts
        ("meta.rack", ">", "9", True),  # order is of numbers
        ("meta.rack", ">", "9.5", True),
        ("meta.zone", ">", "a", True),
        ("meta.zone", "set_contains_any", "x, c", True),
        ("meta.none", "=", "", False),
        ("meta.none", "!=", "x", True),
        ("meta.none", "<", "x", False),
        ("meta.none", "is_set", "", False),
        ("meta.rack", "is_set", "", True),
    ],
)
def test_node_attributes_compare_as_in_nomad(attribute: str, operator: str, value: str, expected: bool) -> None:
    attributes = node_attributes(node("n1", node_class="gpu", meta={"rack": "10", "zone": "b,c"}))

    assert node_holds(condition(attribute, operator, value), attributes) is expected
