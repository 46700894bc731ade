import csv
import re

import pytest

from aivailable.devices.simulated import load_nodes
from aivailable.errors import UserError
from aivailable.settings import shipped
from aivailable.vram.cardtable import TABLE

DEMO = shipped("examples") / "demo-inventory.toml"
NODE = '[[node]]\nname = "n"\n[[node.card]]\nvendor = "nvidia"\nname = "T4"\nmemory_mib = 15360\n'
ONE = NODE + "compute_capability = 7.5\n"


def test_the_demo_inventory_is_the_rack_that_was_promised_with_numbers_true_to_the_driver() -> None:
    nodes = load_nodes(DEMO.read_text(), where="demo")
    with TABLE.open(newline="") as file:
        table = {row["name"]: row for row in csv.DictReader(file)}

    assert {n.name: [c.name for c in n.cards] for n in nodes} == {
        "node1": ["NVIDIA GeForce RTX 2080 Ti", "Tesla T4"],
        "node2": ["NVIDIA GeForce GTX 1080", "NVIDIA GeForce GTX 1080"],
        "node3": ["AMD Instinct MI60 / MI50"],
    }
    for card in (card for node in nodes for card in node.cards):
        row = table[card.name]
        assert card.total_mib == int(row["vram_mib"])
        assert card.bandwidth_gb_s == float(row["memory_bandwidth_gb_s"])
        assert str(card.compute_capability or "") == row["compute_capability"]
        assert (card.gfx or "") == row["gfx"]
        assert card.simulated
        assert card.free_slices == card.slices


def test_ids_stay_the_same_from_run_to_run() -> None:
    first, second = load_nodes(ONE, where="x"), load_nodes(ONE, where="x")

    assert first == second
    assert re.fullmatch(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first[0].cards[0].uuid)
    (amd,) = load_nodes(NODE.replace("nvidia", "amd") + 'gfx = "gfx906"\n', where="x")
    assert re.fullmatch(r"GPU-[0-9a-f]{16}", amd.cards[0].uuid)


def test_an_index_is_the_place_in_the_list_unless_it_is_given() -> None:
    second = ONE.partition("[[node.card]]")[1] + ONE.partition("[[node.card]]")[2]

    assert [c.index for c in load_nodes(ONE + second, where="x")[0].cards] == [0, 1]
    (given,) = load_nodes(ONE + "index = 3\n" + second, where="x")
    assert [c.index for c in given.cards] == [3, 1]
    assert given.cards[1] == load_nodes(ONE + second, where="x")[0].cards[1]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x = [", ["not TOML"]),
        ("", ["node: missing"]),
        ("nodes = 1", ["nodes: unknown key", "did you mean `node`?"]),
        (ONE + "memory = 1", ["node[0].card[0].memory: unknown key", "`memory_mib`"]),
        (ONE.replace("15360", '"a"'), ["memory_mib: expected a whole number, got 'a'"]),
        (ONE.replace("15360", "100"), ["memory_mib: 100", "at least 512"]),
        (ONE + "index = -1", ["node[0].card[0].index: -1"]),
        (ONE + "index = 1" + "\n[[node.card]]" + ONE.partition("[[node.card]]")[2], ["two cards have the index 1"]),
        (ONE.replace('"nvidia"', '"intel"'), ["vendor: 'intel'", "nvidia or amd"]),
        (NODE, ["compute_capability: missing"]),
        (ONE.replace('"nvidia"', '"amd"'), ["gfx: missing"]),
        (ONE.replace('name = "n"', ""), ["node[0].name: missing"]),
        (ONE + ONE, ["two nodes are named 'n'"]),
        (ONE + 'uuid = "u"\n' + ONE.replace('"n"', '"m"') + 'uuid = "u"\n', ["two cards have the uuid 'u'"]),
        ("node = [1]", ["node[0]: expected a table"]),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_nodes(text, where="inventory.toml")
    for part in ["inventory.toml", *parts]:
        assert part in str(caught.value)
