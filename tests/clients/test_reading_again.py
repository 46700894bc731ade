"""What the clients keep between two readings: every change is seen, and what did not change is the same object."""

from collections.abc import Iterator
from typing import Any

import pytest

from aivailable.clients import nomad_snapshot
from aivailable.clients.consul import ConsulRegistry
from aivailable.clients.json_stream import list_entries
from aivailable.clients.nomad import NomadCluster
from aivailable.clients.nomad_api import NomadApi
from aivailable.errors import AivailableError
from aivailable.model.replica import Replica, ReplicaState
from aivailable.settings import ConsulSettings, NomadSettings
from bench.controller import documents
from bench.controller.world import instances, world
from tests.clients.fakestores import Stores, fake_stores

COUNT = 20
FLEET, SNAPSHOT = world(COUNT)
NODES = {node.name: node for node in SNAPSHOT.nodes}
NOTHING_NEW = ["/v1/nodes", "/v1/allocations", "/v1/jobs"]
FIRST = SNAPSHOT.replicas[0]


def allocation(replica: Replica, **facts: object) -> dict[str, Any]:
    return {**documents.allocation(replica, NODES[replica.node], 1, whole=True), **facts}


@pytest.fixture
def stores() -> Iterator[Stores]:
    with fake_stores() as running:
        for node in SNAPSHOT.nodes:
            running.write("nodes", node.id, documents.whole_node(node, 1))
        for replica in SNAPSHOT.replicas:
            running.write("allocations", replica.alloc, allocation(replica))
            running.write("jobs", replica.job, documents.job(replica, 1))
        for instance in instances(SNAPSHOT):
            running.write("service", instance.id, documents.health(instance, 1))
        yield running


@pytest.fixture
def cluster(stores: Stores) -> Iterator[NomadCluster]:
    api = NomadApi(NomadSettings(address=stores.url))
    yield NomadCluster(api)
    api.close()


@pytest.fixture
def registry(stores: Stores) -> Iterator[ConsulRegistry]:
    real = ConsulRegistry(ConsulSettings(address=stores.url))
    yield real
    real.close()


def test_the_documents_are_read_as_what_they_were_made_of(cluster: NomadCluster) -> None:
    found = cluster.snapshot()

    assert [(n.name, n.cards) for n in found.nodes] == [(n.name, n.cards) for n in SNAPSHOT.nodes]
    facts = [(r.job, r.model, r.replica, r.alloc, r.node, r.cards, r.claim_mib, r.state) for r in SNAPSHOT.replicas]
    assert [
        (r.job, r.model, r.replica, r.alloc, r.node, r.cards, r.claim_mib, r.state) for r in found.replicas
    ] == facts


def test_where_nothing_changed_nothing_is_asked_and_nothing_made(cluster: NomadCluster, stores: Stores) -> None:
    before = cluster.snapshot()
    stores.paths()

    assert cluster.snapshot() is before
    assert stores.paths() == NOTHING_NEW


def test_of_one_changed_allocation_only_its_details_are_asked_and_only_its_replica_is_made_anew(
    cluster: NomadCluster, stores: Stores
) -> None:
    before = cluster.snapshot()
    stores.paths()
    stores.write("allocations", FIRST.alloc, allocation(FIRST, ClientStatus="unknown"))

    after = cluster.snapshot()

    assert stores.paths() == ["/v1/nodes", *["/v1/allocations"] * 3, "/v1/jobs"]
    assert after.replicas[0].state is ReplicaState.LOST
    assert all(a is b for a, b in zip(after.replicas[1:], before.replicas[1:], strict=True))
    assert all(a is b for a, b in zip(after.nodes, before.nodes, strict=True))


def test_slices_come_back_with_the_end_of_an_allocation_and_go_to_those_of_other_namespaces(
    cluster: NomadCluster, stores: Stores
) -> None:
    before = cluster.snapshot()
    stores.write("allocations", FIRST.alloc, allocation(FIRST, ClientStatus="complete"))
    card = cluster.snapshot().card(FIRST.cards[0])
    assert card is not None
    assert card.free_slices == card.slices

    stores.write("allocations", "foreign", allocation(FIRST, ID="foreign", JobID="other", Namespace="theirs"))
    after = cluster.snapshot()

    assert after.card(FIRST.cards[0]) == before.card(FIRST.cards[0])
    assert after.replicas[0].state is ReplicaState.PENDING
    others = [(a, b) for a, b in zip(after.nodes, before.nodes, strict=True) if a.name != FIRST.node]
    assert all(a is b for a, b in others)


def test_an_allocation_that_is_gone_or_new_is_seen(cluster: NomadCluster, stores: Stores) -> None:
    cluster.snapshot()
    stores.write("allocations", FIRST.alloc, None)
    assert cluster.snapshot().replicas[0].alloc == ""

    stores.write("allocations", "new", allocation(FIRST, ID="new"))
    assert cluster.snapshot().replicas[0].alloc == "new"


def test_a_job_of_the_same_name_in_another_namespace_is_another_one(cluster: NomadCluster, stores: Stores) -> None:
    before = cluster.snapshot()
    stores.write("allocations", "x", allocation(FIRST, ID="x", Namespace="theirs", CreateIndex=99, NodeID="unknown"))

    assert cluster.snapshot().replicas[0] is before.replicas[0]


def test_a_node_that_goes_down_is_seen_with_its_replicas(cluster: NomadCluster, stores: Stores) -> None:
    before = cluster.snapshot()
    node = NODES[FIRST.node]
    stores.paths()
    stores.write("nodes", node.id, {**documents.whole_node(node, 1), "Status": "down"})

    after = cluster.snapshot()

    assert stores.paths() == ["/v1/nodes", "/v1/nodes", f"/v1/node/{node.id}", "/v1/allocations", "/v1/jobs"]
    assert [n.name for n in after.nodes if not n.ready] == [FIRST.node]
    lost = {r.job for r in after.replicas if r.state is ReplicaState.LOST}
    assert lost == {r.job for r in SNAPSHOT.replicas if r.node == FIRST.node}
    rest = [(a, b) for a, b in zip(after.replicas, before.replicas, strict=True) if a.job not in lost]
    assert all(a is b for a, b in rest)


def test_a_job_that_stops_is_seen(cluster: NomadCluster, stores: Stores) -> None:
    cluster.snapshot()
    stores.write("jobs", FIRST.job, {**documents.job(FIRST, 1), "Stop": True})
    assert cluster.snapshot().replicas[0].state is ReplicaState.STOPPING

    stores.write("allocations", FIRST.alloc, allocation(FIRST, ClientStatus="complete"))
    assert FIRST.job not in {r.job for r in cluster.snapshot().replicas}


def test_servers_restored_from_a_backup_are_read_anew(cluster: NomadCluster, stores: Stores) -> None:
    cluster.snapshot()
    stores.tables["allocations"][FIRST.alloc] |= {"ClientStatus": "unknown"}
    stores.indexes["allocations"] -= 1

    assert cluster.snapshot().replicas[0].state is ReplicaState.LOST


def test_what_could_not_be_read_is_asked_for_the_next_time(cluster: NomadCluster, stores: Stores) -> None:
    cluster.snapshot()
    node = NODES[FIRST.node]
    stores.write("nodes", node.id, {**documents.whole_node(node, 1), "SchedulingEligibility": "ineligible"})
    stores.broken.add(f"/v1/node/{node.id}")
    with pytest.raises(AivailableError):
        cluster.snapshot()

    stores.broken.clear()
    assert [n.name for n in cluster.snapshot().nodes if not n.eligible] == [FIRST.node]


def test_many_changes_are_read_in_pages(cluster: NomadCluster, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nomad_snapshot, "ONE_BY_ONE_MAX", COUNT - 1)
    monkeypatch.setattr(nomad_snapshot, "DETAILS_PAGE", 6)

    assert len(cluster.snapshot().replicas) == COUNT
    pages = [query for path, query in stores.asked if path == "/v1/allocations" and "resources" in query]
    assert [query.get("next_token") for query in pages] == [None, "6", "12", "18"]


def test_instances_are_read_again_only_when_one_has_changed(registry: ConsulRegistry, stores: Stores) -> None:
    known = instances(SNAPSHOT)
    for instance in known:
        stores.write("connect", instance.id, documents.health(instance, 1))
    before = registry.instances("llm-engine")
    assert {i.id for i in before} == {i.id for i in known}
    stores.asked.clear()

    assert registry.instances("llm-engine") is before
    assert all("filter" in query for _, query in stores.asked)

    sick = documents.health(known[0], 1)
    sick["Checks"][1]["Status"] = "critical"
    stores.write("connect", known[0].id, sick)
    after = registry.instances("llm-engine")
    assert [i.id for i in after if not i.passing] == [known[0].id]
    assert all(a is b for a, b in zip(after[1:], before[1:], strict=True))

    stores.write("connect", known[0].id, None)
    assert len(registry.instances("llm-engine")) == COUNT - 1


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_list_is_read_entry_by_entry_however_it_is_cut(size: int) -> None:
    text = ' [ {"a": "é]}[{\\"", "b": [1, {}]} ,\n{"c": null}] '.encode()
    pieces = [text[n : n + size] for n in range(0, len(text), size)]

    assert list(list_entries(pieces)) == [{"a": 'é]}[{"', "b": [1, {}]}, {"c": None}]
    assert list(list_entries([b"nu", b"ll"])) == list(list_entries([b"[]"])) == []


@pytest.mark.parametrize("text", [b"", b"[", b'[{"a": 1}', b'[{"a": 1', b'{"a": 1}', b"[1]", b"no leader"])
def test_a_list_that_ends_early_or_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="a list in JSON"):
        list(list_entries([text]))
