"""The rack as people look at it: what adds up, what is said, what a key may see."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.controller.picture import Picture, condition, node_state, picture
from aivailable.controller.traffic import Traffic
from aivailable.model.failure import Failure
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan, version_hashes
from tests.placement.world import begun
from tests.samples import EIGHT_B, fleet, model, node, rack

TWO = fleet(model("a", replicas=2), model("b"))


def running(state: ReplicaState = ReplicaState.SERVING) -> Snapshot:
    """The rack with everything of `TWO` on it."""
    empty = rack()
    placements = plan(TWO, empty).placements
    replicas = tuple(begun(placement, state) for placement in placements)
    taken: dict[str, int] = {}
    for placement in placements:
        for uuid, slices in zip(placement.cards, placement.slices, strict=True):
            taken[uuid] = taken.get(uuid, 0) + slices
    nodes = tuple(
        replace(n, cards=tuple(replace(c, free_slices=c.slices - taken.get(c.uuid, 0)) for c in n.cards))
        for n in empty.nodes
    )
    return Snapshot(nodes=nodes, replicas=replicas)


def shown(snapshot: Snapshot, **facts: object) -> Picture:
    return picture(TWO, snapshot, plan(TWO, snapshot), at_s=1.0, **facts)  # type: ignore[arg-type] # picture's own


def test_the_parts_of_every_card_add_up_to_it() -> None:
    found = shown(running())

    tenants = 0
    for card in (card for n in found.nodes for card in n.cards):
        claims_mib = sum(tenant.claim_mib for tenant in card.tenants)
        tenants += len(card.tenants)
        assert claims_mib + card.other_mib + card.free_mib + card.rest_mib == card.total_mib
        assert card.booked_mib == claims_mib + card.other_mib
    assert tenants == 3
    assert found.nodes[2].cards[0].rest_mib == 16368 % 512


@settings(max_examples=60, deadline=None)
@given(free=st.integers(0, 22), claims=st.lists(st.integers(1, 12), max_size=4))
def test_the_parts_add_up_whatever_the_ledger_and_the_jobs_say(free: int, claims: list[int]) -> None:
    """A replica that waits for a place, or was lost, names a card that it does not hold."""
    empty = rack()
    (first, *others) = empty.nodes
    cards = (replace(first.cards[0], free_slices=free), *first.cards[1:])
    (placement, *_) = plan(TWO, empty).placements
    replicas = tuple(
        replace(
            begun(placement, ReplicaState.LOST),
            replica=n,
            cards=(cards[0].uuid,),
            claim_mib=(512 * slices,),
            job=str(n),
        )
        for n, slices in enumerate(claims)
    )
    found = shown(Snapshot(nodes=(replace(first, cards=cards), *others), replicas=replicas)).nodes[0].cards[0]

    parts = (*(tenant.claim_mib for tenant in found.tenants), found.other_mib, found.free_mib, found.rest_mib)
    assert sum(parts) == found.total_mib
    assert min(parts) >= 0


def test_who_holds_nothing_gives_way_to_who_does() -> None:
    empty = rack()
    (first, *others) = empty.nodes
    cards = (replace(first.cards[0], free_slices=first.cards[0].slices - 2), *first.cards[1:])
    (placement, *_) = plan(TWO, empty).placements

    def on_it(model: str, state: ReplicaState) -> Replica:
        placed = begun(placement, state)
        return replace(placed, model=model, job=model, cards=(cards[0].uuid,), claim_mib=(1024,))

    replicas = (on_it("a", ReplicaState.LOST), on_it("b", ReplicaState.SERVING))
    found = shown(Snapshot(nodes=(replace(first, cards=cards), *others), replicas=replicas)).nodes[0].cards[0]

    assert [(t.model, t.state) for t in found.tenants] == [("b", ReplicaState.SERVING)]


def test_a_tenant_over_its_claim_is_told() -> None:
    snapshot = running()
    first, *rest = snapshot.replicas
    found = shown(replace(snapshot, replicas=(replace(first, measured_mib=first.claim_mib[0] + 1), *rest)))

    assert [t.over for n in found.nodes for c in n.cards for t in c.tenants].count(True) == 1


def test_what_waits_is_what_the_serving_replicas_do_not_hold() -> None:
    traffic = {"a": Traffic(in_flight=11), "b": Traffic(in_flight=3)}
    a, b = shown(running(), traffic=traffic).models

    assert (a.room, a.waiting) == (8, 3)
    assert (b.room, b.waiting) == (4, 0)
    assert shown(running()).models[0].waiting is None


def test_what_is_missing_is_said_in_words() -> None:
    wanted = fleet(model("big", profile=EIGHT_B, replicas=2))
    empty = rack()
    (found,) = picture(wanted, empty, plan(wanted, empty), at_s=1.0).models

    assert found.condition == "down"
    assert "not placed" in found.missing[0]


def test_a_version_given_up_is_said() -> None:
    wanted = fleet(model("a"))
    (hash8, *_) = version_hashes(wanted, wanted.models[0])
    failure = Failure(model="a", hash8=hash8, variant="v", reason="no such file", at_s=1.0, until_s=9.0)
    snapshot = replace(rack(), failed=(failure,))
    (found,) = picture(wanted, snapshot, plan(wanted, snapshot), at_s=1.0).models

    assert found.missing[0] == "given up, no such file; nothing of it can run"


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "up"),
        ({"ready": False}, "down"),
        ({"silent": True}, "silent"),
        ({"leaving": True, "eligible": False}, "leaving"),
        ({"eligible": False}, "draining"),
    ],
)
def test_how_a_node_is(facts: dict[str, bool], state: str) -> None:
    assert node_state(node("n", **facts)) == state


@pytest.mark.parametrize(("serving", "expected"), [(3, "good"), (2, "thin"), (1, "thin"), (0, "down")])
def test_how_a_model_is(serving: int, expected: str) -> None:
    assert condition(model(replicas=3), serving) == expected
