"""The rack on a terminal: bars that fit and do not lie."""

from dataclasses import replace

from rich.console import Console

from aivailable.cli.rack_view import BLOCKS, CLAIMED, FREE, USED, rack_view
from aivailable.controller.picture import CardPicture, NodePicture, Tenant, rack_picture
from aivailable.model.replica import ReplicaState
from tests.samples import rack

TENANT = Tenant(model="m", replica=0, state=ReplicaState.SERVING, claim_mib=4096, measured_mib=2048)
CARD = CardPicture(
    uuid="GPU-1",
    index=0,
    name="Tesla P40",
    vendor="nvidia",
    simulated=False,
    healthy=True,
    total_mib=16384,
    tenants=(TENANT,),
    other_mib=4096,
    free_mib=8192,
    rest_mib=0,
    in_use_mib=None,
    foreign_mib=0,
)
NODE = NodePicture(name="node1", rack="", node_class="", state="up", cards=(CARD,))


def drawn(*nodes: NodePicture) -> list[str]:
    console = Console(width=80, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(rack_view(nodes, ["m"]))
    return capture.get().splitlines()


def bar_of(lines: list[str]) -> str:
    return next(line for line in lines if FREE in line and "GiB" in line).strip().split(" ")[0]


def test_a_bar_shows_what_is_used_claimed_booked_by_others_and_free() -> None:
    lines = drawn(NODE)

    assert bar_of(lines) == USED * 4 + CLAIMED * 4 + CLAIMED * 8 + FREE * 16
    text = "\n".join(lines)
    assert "8.0 of 16.0 GiB" in text
    assert "m #0 serving: 4.0 GiB claimed, 2.0 measured" in text
    assert "4.0 GiB booked by other jobs" in text


def test_bars_are_to_one_scale_and_lines_fit() -> None:
    small = replace(CARD, uuid="GPU-2", total_mib=8192, tenants=(), other_mib=0)
    lines = drawn(replace(NODE, cards=(CARD, small)), *rack_picture(rack()))

    bars = [line.strip().split(" ")[0] for line in lines if FREE in line and " of " in line]
    assert len(bars[0]) == BLOCKS
    assert len(bars[1]) == BLOCKS / 2
    assert max(map(len, lines)) <= 80


def test_what_is_wrong_is_said() -> None:
    sick = replace(
        CARD, healthy=False, tenants=(replace(TENANT, measured_mib=5000),), foreign_mib=1024, in_use_mib=9000
    )
    text = "\n".join(drawn(replace(NODE, state="down", cards=(sick,))))

    for words in ("node1 (down)", "unhealthy", "over its claim", "1.0 by others", "8.8 in use"):
        assert words in text


def test_a_rack_without_nodes_says_where_to_look() -> None:
    assert "aivailable doctor" in "\n".join(drawn())
