from dataclasses import replace

import pytest

from aivailable.controller.observe import merge_silent, with_health
from aivailable.model.cards import Node
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import ENGINE_SERVICE, Instance
from aivailable.model.snapshot import Snapshot

LOADING, SERVING, UNHEALTHY = ReplicaState.LOADING, ReplicaState.SERVING, ReplicaState.UNHEALTHY
REPLICA = Replica(model="m", variant="v", replica=0, job="j", state=LOADING, alloc="a1")


def merged(state: ReplicaState, *, passing: bool | None) -> Replica:
    instance = Instance(
        id="i", service=ENGINE_SERVICE, address="10.0.0.1", port=80, passing=bool(passing), meta={"alloc": "a1"}
    )
    return with_health(replace(REPLICA, state=state), None if passing is None else instance)


@pytest.mark.parametrize(
    ("state", "passing", "expected"),
    [
        (LOADING, None, LOADING),
        (LOADING, False, LOADING),
        (LOADING, True, SERVING),
        (SERVING, True, SERVING),
        (SERVING, False, UNHEALTHY),
        (SERVING, None, UNHEALTHY),
        (ReplicaState.STOPPING, True, ReplicaState.STOPPING),
        (ReplicaState.PENDING, None, ReplicaState.PENDING),
        (ReplicaState.LOST, None, ReplicaState.LOST),
    ],
)
def test_the_scheduler_and_the_registry_make_one_state(
    state: ReplicaState, passing: bool | None, expected: ReplicaState
) -> None:
    assert merged(state, passing=passing).state is expected


def test_the_address_is_that_of_the_registered_instance() -> None:
    assert merged(LOADING, passing=True).address == "10.0.0.1:80"
    assert merged(LOADING, passing=None).address == ""


def test_nodes_that_the_registry_does_not_hear_are_silent_by_whatever_name_it_knows_them() -> None:
    nodes = (Node(id="1", name="n1"), Node(id="2", name="n2", consul_name="c2"), Node(id="3", name="c3"))

    seen = merge_silent(Snapshot(nodes=nodes), frozenset({"n1", "c2", "n2"}))

    assert [node.silent for node in seen.nodes] == [True, True, False]
    assert [node.silent for node in merge_silent(seen, frozenset({"c3"})).nodes] == [False, False, True]
