"""Nomad's documents read as ours: what the real rack of the tests cannot show (HashiCorp's plugin, lost nodes)."""

from typing import Any

import pytest

from aivailable.clients.nomad_allocations import Allocation, allocation_of, held_instances, newest_failure
from aivailable.clients.nomad_views import node_events, node_of, replica_of, used_mib
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from aivailable.rendering import render
from aivailable.settings import Settings
from tests.samples import fleet, model

UUID = "GPU-aaaa"
META = {"model": "m", "variant": "node:m.gguf", "replica": "1", "vendor": "nvidia"}


def value(kind: str, found: object, unit: str = "") -> dict[str, object]:
    return {**dict.fromkeys(("Int", "Float", "String", "Bool")), kind: found, "Unit": unit}


def whole(*ids: str, healthy: bool = True) -> dict[str, Any]:
    """A group as HashiCorp's nvidia plugin publishes it."""
    return {
        "Vendor": "nvidia",
        "Type": "gpu",
        "Name": "Tesla T4",
        "Attributes": {"memory": value("Int", 15360, "MiB"), "driver_version": value("String", "580.1")},
        "Instances": [{"ID": one, "Healthy": healthy} for one in ids],
    }


SLICED = {
    "Vendor": "nvidia",
    "Type": "vram",
    "Name": UUID,
    "Attributes": {
        "memory": value("Int", 2048, "MiB"),
        "model": value("String", "Tesla T4"),
        "compute_capability": value("Float", 7.5),
        "slice_mib": value("Int", 512),
        "index": value("Int", 0),
    },
    "Instances": [{"ID": f"{UUID}/{n:03d}", "Healthy": True} for n in range(4)],
}


def stub(*devices: dict[str, Any], status: str = "ready") -> dict[str, Any]:
    return {
        "ID": "id-1",
        "Name": "node1",
        "NodeClass": "old",
        "Status": status,
        "SchedulingEligibility": "eligible",
        "Drain": False,
        "Drivers": {"docker": {"Healthy": True}, "raw_exec": {"Healthy": True}, "java": {"Healthy": False}},
        "NodeResources": {"Devices": list(devices)},
    }


def allocation(status: str = "running", **facts: object) -> Allocation:
    device = {"Vendor": "nvidia", "Type": "vram", "Name": UUID, "DeviceIDs": [f"{UUID}/000", f"{UUID}/001"]}
    document = {
        "ID": "alloc-1",
        "JobID": "llm-m-1-00000000",
        "NodeID": "id-1",
        "NodeName": "node1",
        "ClientStatus": status,
        "DesiredStatus": "run",
        "CreateIndex": 10,
        "AllocatedResources": {"Tasks": {"engine": {"Devices": [device]}, "fetch": {"Devices": None}}},
        "TaskStates": {"engine": {"State": "running", "StartedAt": "2026-11-23T09:00:00.5Z", "Events": []}},
        **facts,
    }
    return allocation_of(document)


def test_cards_of_hashicorps_plugin_are_whole_ones_with_what_the_table_knows() -> None:
    node = node_of(stub(whole("GPU-1", "GPU-2")), {"Meta": {"rack": "r1"}}, {"GPU-2"})

    assert (node.vendor_plugin, node.rack, node.drivers) == ("hashicorp", "r1", ("docker", "raw_exec"))
    assert [(c.uuid, c.slices, c.free_slices, c.slice_mib, c.device_type) for c in node.cards] == [
        ("GPU-1", 1, 1, 15360, "gpu"),
        ("GPU-2", 1, 0, 15360, "gpu"),
    ]
    assert node.cards[0].compute_capability == 7.5


def test_a_whole_card_is_planned_and_asked_for_as_that_plugin_names_it() -> None:
    node = node_of(stub(whole("GPU-1")), {}, ())
    wanted = fleet(model("m"), driver="raw_exec")

    made = plan(wanted, Snapshot(nodes=(node,)))

    (placement,) = made.placements
    assert (placement.cards, placement.slices, placement.claim_mib) == (("GPU-1",), (1,), (15360,))
    text = render(placement, Settings()).text
    assert 'device "nvidia/gpu/Tesla T4"' in text
    assert "count = 1" in text
    assert "slice_mib" not in text
    assert "compute_capability" not in text


def test_a_node_with_both_plugins_is_refused_for_it_would_book_twice() -> None:
    node = node_of(stub(SLICED, whole(UUID)), {}, ())

    made = plan(fleet(model("m")), Snapshot(nodes=(node,)))

    assert node.vendor_plugin == "aivailable+hashicorp"
    assert made.placements == ()
    assert {reason.rule for reason in made.unplaced[0].reasons} == {"plugin"}


def test_slices_are_held_until_the_client_says_that_the_task_ended() -> None:
    stopping = allocation(DesiredStatus="stop")
    ended = allocation("complete", AllocatedResources={"Tasks": {}})

    held = held_instances([stopping, ended])
    node = node_of(stub(SLICED), {}, held["id-1"])

    assert held == {"id-1": {f"{UUID}/000", f"{UUID}/001"}}
    assert node.cards[0].free_slices == 2


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, ReplicaState.LOADING),
        ({"DeploymentStatus": {"Healthy": True}}, ReplicaState.SERVING),
        ({"DesiredStatus": "stop"}, ReplicaState.STOPPING),
        ({"ClientStatus": "unknown"}, ReplicaState.LOST),
        ({"ClientStatus": "lost"}, ReplicaState.LOST),
        ({"ClientStatus": "pending", "TaskStates": None}, ReplicaState.PENDING),
        ({"TaskStates": {"fetch": {"State": "running"}, "engine": {"State": "pending"}}}, ReplicaState.FETCHING),
    ],
)
def test_the_state_of_a_replica_is_read_from_its_newest_allocation(
    facts: dict[str, object], state: ReplicaState
) -> None:
    nodes = {"id-1": node_of(stub(SLICED), {}, ())}
    old = allocation("failed", ID="alloc-0", CreateIndex=1)

    replica = replica_of("llm-m-1-00000000", META, [allocation(**facts), old], nodes, stopped=False)

    assert (replica.state, replica.model, replica.replica, replica.failures) == (state, "m", 1, 1)
    if state is not ReplicaState.LOST or facts["ClientStatus"] == "unknown":
        assert (replica.cards, replica.claim_mib) == ((UUID,), (1024,))


def test_a_replica_on_a_node_that_is_down_is_lost() -> None:
    nodes = {"id-1": node_of(stub(SLICED, status="down"), {}, ())}

    assert replica_of("j", META, [allocation()], nodes, stopped=False).state is ReplicaState.LOST


def test_a_failure_says_where_and_which_task() -> None:
    states = {
        "fetch": {"State": "dead", "Failed": True, "StartedAt": "2026-11-23T09:00:00Z", "Events": []},
        "engine": {"State": "dead", "Failed": True, "StartedAt": None, "Events": []},
    }
    failed = allocation("failed", TaskStates=states, ClientDescription="Failed tasks")

    replica = replica_of("j", META, [failed], {}, stopped=False)
    found = newest_failure([failed])

    assert (replica.state, replica.note) == (ReplicaState.PENDING, "failed on node1: Failed tasks")
    assert found is not None
    assert (found.alloc, found.task) == ("alloc-1", "fetch")
    assert newest_failure([failed, allocation(CreateIndex=11)]) is None


def test_times_and_use_are_read_in_nomads_forms() -> None:
    detail = {"Name": "node1", "Events": [{"Timestamp": "2026-11-23T10:00:00.123456789+01:00", "Message": "up"}]}
    stats = {
        "DeviceStats": [{"Type": "gpu", "InstanceStats": {UUID: {"Summary": {"IntNumeratorVal": 7, "Unit": "MiB"}}}}]
    }

    assert [round(event.at_s, 3) for event in node_events(detail)] == [1795424400.123]
    assert allocation().started_s == 1795424400.5
    assert used_mib(stats) == {UUID: 7}
    assert used_mib({}) == {}
