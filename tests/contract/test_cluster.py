"""What every cluster must do with a job. A real Nomad joins by one more entry in `CLUSTERS`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from aivailable.embedded.agent import Agent
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.errors import UserError
from aivailable.model.replica import ReplicaState
from aivailable.seams import Cluster
from tests.embedded.jobs import job, nodes
from tests.processes import eventually

JOB = "llm-m-0-00000000"


@contextmanager
def embedded(state: Path) -> Iterator[Cluster]:
    with Agent(state, nodes()):
        yield EmbeddedCluster(state)


CLUSTERS: dict[str, Callable[[Path], AbstractContextManager[Cluster]]] = {"embedded": embedded}


@pytest.fixture(params=sorted(CLUSTERS))
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    with CLUSTERS[request.param](tmp_path) as running:
        yield running


def test_a_job_is_submitted_seen_and_stopped(cluster: Cluster) -> None:
    index = cluster.changed(0, 1.0)
    cluster.submit(JOB, job())
    cluster.submit(JOB, job())
    assert cluster.changed(index, 5.0) != index

    eventually(lambda: [r.state for r in cluster.snapshot().replicas] == [ReplicaState.SERVING])
    (replica,) = cluster.snapshot().replicas
    node = cluster.snapshot().node(replica.node)
    assert node is not None
    assert (replica.job, replica.model, replica.replica, replica.vendor) == (JOB, "m", 0, "nvidia")
    assert node.cards[0].free_slices == node.cards[0].slices - 2
    assert any(event.job == JOB for event in cluster.events(10))

    cluster.stop(JOB)
    cluster.stop(JOB)
    cluster.stop("no-such-job")
    eventually(lambda: cluster.snapshot().replicas == ())


def test_text_that_is_no_job_is_refused(cluster: Cluster) -> None:
    with pytest.raises(UserError):
        cluster.submit(JOB, "job {")
    assert cluster.snapshot().replicas == ()


def test_an_unknown_job_has_no_logs(cluster: Cluster) -> None:
    assert list(cluster.logs("no-such-job", tail_lines=5)) == []
