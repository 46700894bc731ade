"""What every cluster must do with a job: the embedded one, or a real Nomad with our device plugin."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aivailable.clients.nomad import NomadCluster
from aivailable.controller.observe import observe
from aivailable.embedded.agent import Agent
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.errors import RetryableError, UserError
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Cluster, Registry
from tests.embedded.jobs import job, nodes, shell
from tests.processes import eventually

JOB = "llm-m-0-00000000"
OTHER = "llm-m-1-00000000"
WAIT_S = 30.0
REAL = pytest.param("nomad", marks=[pytest.mark.nomad, pytest.mark.timeout(120)])


@dataclass(frozen=True)
class Parts:
    """A cluster with the registry that says who of its replicas is healthy."""

    cluster: Cluster
    registry: Registry

    def snapshot(self) -> Snapshot:
        return observe(self.cluster, self.registry)

    def replica(self, job_id: str, state: ReplicaState) -> Replica:
        """The replica of a job, as soon as it is in a state."""

        def look() -> Replica | None:
            return next((r for r in self.snapshot().replicas if r.job == job_id and r.state is state), None)

        return eventually(look, timeout_s=WAIT_S)  # type: ignore[return-value] # eventually gives a true value


@pytest.fixture(params=["embedded", REAL])
def parts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parts]:
    if request.param == "embedded":
        with Agent(tmp_path, nodes()):
            yield Parts(EmbeddedCluster(tmp_path), EmbeddedRegistry(tmp_path))
        return
    cluster = NomadCluster(request.getfixturevalue("nomad_api"))
    yield Parts(cluster, request.getfixturevalue("consul_registry"))
    for replica in cluster.snapshot().replicas:
        cluster.stop(replica.job)
    eventually(lambda: cluster.snapshot().replicas == (), timeout_s=WAIT_S)


def text(job_id: str = JOB, **facts: object) -> str:
    """A job in numbers that Nomad takes: it refuses checks more often than every second."""
    made = job(job_id, **facts)  # type: ignore[arg-type] # the keywords of job
    return made.replace('interval = "100ms"', 'interval = "1s"').replace('delay          = "100ms"', 'delay = "5s"')


def test_a_job_is_submitted_seen_and_stopped(parts: Parts) -> None:
    index = parts.cluster.changed(0, 1.0)
    parts.cluster.submit(JOB, text())
    parts.cluster.submit(JOB, text())
    assert parts.cluster.changed(index, 5.0) != index

    replica = parts.replica(JOB, ReplicaState.SERVING)
    node = parts.snapshot().node(replica.node)
    assert node is not None
    assert (replica.job, replica.model, replica.replica, replica.vendor) == (JOB, "m", 0, "nvidia")
    card = next(card for card in node.cards if card.uuid in replica.cards)
    assert (replica.claim_mib, card.free_slices) == ((1024,), card.slices - 2)
    assert replica.address
    assert any(event.job == JOB for event in parts.cluster.events(10))

    parts.cluster.stop(JOB)
    parts.cluster.stop(JOB)
    parts.cluster.stop("no-such-job")
    eventually(lambda: parts.snapshot().replicas == (), timeout_s=WAIT_S)


def test_a_stop_decided_before_the_job_was_registered_anew_changes_nothing(parts: Parts) -> None:
    parts.cluster.submit(JOB, text())
    old = parts.replica(JOB, ReplicaState.SERVING)
    parts.cluster.stop(JOB, index=old.index)
    parts.cluster.stop(JOB, index=old.index)
    eventually(lambda: parts.snapshot().replicas == (), timeout_s=WAIT_S)
    parts.cluster.submit(JOB, text())
    new = parts.replica(JOB, ReplicaState.SERVING)

    with pytest.raises(RetryableError, match="registered anew"):
        parts.cluster.stop(JOB, index=old.index)
    for index in (None, 0, old.index):
        parts.cluster.submit(JOB, text(slices=4), index=index)

    assert old.index not in {0, new.index}
    assert parts.replica(JOB, ReplicaState.SERVING) == new
    parts.cluster.stop("no-such-job", index=old.index)
    parts.cluster.stop(JOB, index=new.index)
    eventually(lambda: parts.snapshot().replicas == (), timeout_s=WAIT_S)


@pytest.mark.parametrize("parts", [REAL], indirect=True)
def test_a_start_decided_before_the_job_was_started_and_stopped_changes_nothing(parts: Parts) -> None:
    """The embedded cluster has no late starts: no other controller leads while one stands still."""
    parts.cluster.submit(JOB, text(), index=parts.snapshot().ended.get(JOB, 0))
    parts.cluster.stop(JOB, index=parts.replica(JOB, ReplicaState.SERVING).index)
    eventually(lambda: parts.snapshot().replicas == (), timeout_s=WAIT_S)
    ended = parts.snapshot().ended

    for late in (0, ended[JOB] - 1):
        with pytest.raises(RetryableError, match="registered anew"):
            parts.cluster.submit(JOB, text(), index=late)

    assert parts.snapshot().ended == ended
    parts.cluster.submit(JOB, text(), index=ended[JOB])
    parts.replica(JOB, ReplicaState.SERVING)


def test_text_that_is_no_job_is_refused(parts: Parts) -> None:
    with pytest.raises(UserError):
        parts.cluster.submit(JOB, "job {")
    assert parts.snapshot().replicas == ()


def test_text_under_another_id_is_refused(parts: Parts) -> None:
    with pytest.raises(UserError, match=f"job {OTHER}: the text describes {JOB}"):
        parts.cluster.submit(OTHER, text())


def test_a_soft_plan_reaches_the_card_that_it_prefers(parts: Parts) -> None:
    nodes = parts.snapshot().nodes
    card = max((card for node in nodes for card in node.cards if card.vendor == "nvidia"), key=lambda c: c.total_mib)
    wish = f"""affinity {{
      attribute = "${{device.attr.uuid}}"
      value     = "{card.uuid}"
      weight    = 100
    }}"""

    for job_id in (JOB, OTHER):
        parts.cluster.submit(job_id, text(job_id, device=wish))

    both = [parts.replica(job_id, ReplicaState.SERVING) for job_id in (JOB, OTHER)]
    assert {replica.cards for replica in both} == {(card.uuid,)}
    now = parts.snapshot().card(card.uuid)
    assert now is not None
    assert now.free_slices == card.slices - 4


def test_a_node_that_is_not_eligible_keeps_its_work_and_gets_no_more(parts: Parts) -> None:
    parts.cluster.submit(JOB, text())
    replica = parts.replica(JOB, ReplicaState.SERVING)

    parts.cluster.set_eligibility(replica.node, eligible=False)
    parts.cluster.set_eligibility(replica.node, eligible=False)
    eventually(lambda: not eligible(parts, replica.node), timeout_s=WAIT_S)
    parts.cluster.submit(OTHER, text(OTHER))

    assert parts.replica(OTHER, ReplicaState.SERVING).node != replica.node
    assert parts.replica(JOB, ReplicaState.SERVING).alloc == replica.alloc
    assert parts.cluster.running_on(replica.node) == (JOB,)
    parts.cluster.set_eligibility(replica.node, eligible=True)
    eventually(lambda: eligible(parts, replica.node), timeout_s=WAIT_S)


def test_a_drain_moves_work_and_stays_until_the_node_is_eligible_again(parts: Parts) -> None:
    parts.cluster.submit(JOB, text())
    before = parts.replica(JOB, ReplicaState.SERVING)

    parts.cluster.drain(before.node, deadline_s=60)
    eventually(lambda: parts.cluster.running_on(before.node) == (), timeout_s=WAIT_S)
    assert parts.replica(JOB, ReplicaState.SERVING).node != before.node
    assert not eligible(parts, before.node)

    parts.cluster.set_eligibility(before.node, eligible=True)
    eventually(lambda: eligible(parts, before.node), timeout_s=WAIT_S)


def test_what_has_no_place_elsewhere_is_stopped_at_the_drains_deadline(parts: Parts) -> None:
    nodes = [node for node in parts.snapshot().nodes if any(card.vendor == "nvidia" for card in node.cards)]
    for node in nodes[1:]:
        parts.cluster.set_eligibility(node.name, eligible=False)
    eventually(lambda: not any(eligible(parts, node.name) for node in nodes[1:]), timeout_s=WAIT_S)
    try:
        parts.cluster.submit(JOB, text())
        assert parts.replica(JOB, ReplicaState.SERVING).node == nodes[0].name
        parts.cluster.drain(nodes[0].name, deadline_s=60)
        assert parts.replica(JOB, ReplicaState.SERVING).node == nodes[0].name

        parts.cluster.drain(nodes[0].name, deadline_s=0.5)

        eventually(lambda: parts.cluster.running_on(nodes[0].name) == (), timeout_s=WAIT_S)
        assert parts.replica(JOB, ReplicaState.PENDING).node == ""
    finally:
        for node in nodes:
            parts.cluster.set_eligibility(node.name, eligible=True)
        eventually(lambda: all(eligible(parts, node.name) for node in nodes), timeout_s=WAIT_S)


def test_an_unknown_node_is_refused_with_the_nearest_name(parts: Parts) -> None:
    eventually(lambda: parts.snapshot().nodes, timeout_s=WAIT_S)
    with pytest.raises(UserError) as refused:
        parts.cluster.drain("nod1", deadline_s=1)
    assert "did you mean node1?" in refused.value.hint
    with pytest.raises(UserError):
        parts.cluster.set_eligibility("nowhere", eligible=False)
    assert parts.cluster.running_on("nowhere") == ()


def eligible(parts: Parts, node: str) -> bool:
    return any(known.name == node and known.eligible for known in parts.snapshot().nodes)


def test_logs_are_the_last_lines_and_what_follows(parts: Parts) -> None:
    parts.cluster.submit(JOB, text(**shell("for i in 1 2 3; do echo line $i; done; sleep 4; echo four; exec sleep 9")))

    eventually(lambda: list(parts.cluster.logs(JOB, tail_lines=2)) == ["line 2", "line 3"], timeout_s=WAIT_S)
    assert next(iter(parts.cluster.logs(JOB, tail_lines=0, follow=True))) == "four"


def test_an_engine_that_fails_is_counted_and_says_why(parts: Parts) -> None:
    parts.cluster.submit(JOB, text(**shell("exit 3")))

    failed = eventually(lambda: next((r for r in parts.snapshot().replicas if r.failures), None), timeout_s=WAIT_S)

    assert failed is not None
    assert "failed on node" in failed.note
    assert any("3" in event.text and event.job == JOB for event in parts.cluster.events(50))


def test_an_unknown_job_has_no_logs(parts: Parts) -> None:
    assert list(parts.cluster.logs("no-such-job", tail_lines=5)) == []
