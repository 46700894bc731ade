from dataclasses import replace

import pytest

from aivailable.controller.observe import with_health
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import ENGINE_SERVICE, Instance

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
