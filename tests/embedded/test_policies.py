"""What the agent does when things end, fail and move, with real processes."""

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aivailable.embedded.agent import Agent
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.processes import end_leftovers, remember
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.state import AGENT_LOCK, Document, StateFiles
from aivailable.errors import PermanentError
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import ENGINE_SERVICE
from tests.embedded.jobs import job, nodes, shell
from tests.processes import eventually, running
from tests.samples import card, node

JOB = "llm-m-0-00000000"
OTHER = "llm-m-1-00000000"
SLEEP = shell("exec sleep 60")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    with Agent(tmp_path, nodes()):
        yield EmbeddedCluster(tmp_path)
    assert running(str(tmp_path)) == []


def replica(cluster: EmbeddedCluster, job_id: str = JOB) -> Replica | None:
    return next((r for r in cluster.snapshot().replicas if r.job == job_id), None)


def runs(cluster: EmbeddedCluster, job_id: str = JOB) -> Replica:
    def check() -> Replica | None:
        found = replica(cluster, job_id)
        return found if found and found.state in {ReplicaState.LOADING, ReplicaState.SERVING} else None

    return eventually(check)  # type: ignore[return-value] # eventually gives a true value


def told(cluster: EmbeddedCluster, text: str) -> int:
    return sum(text in event.text for event in cluster.events(200))


def test_a_stop_and_a_submission_of_the_same_text_start_anew(cluster: EmbeddedCluster) -> None:
    text = job(**SLEEP)
    cluster.submit(JOB, text)
    first = runs(cluster)

    cluster.stop(JOB)
    cluster.submit(JOB, text)

    eventually(lambda: (r := replica(cluster)) and r.alloc not in {"", first.alloc})


def test_a_waiting_job_is_replaced_by_a_new_submission(cluster: EmbeddedCluster) -> None:
    cluster.submit(JOB, job(slices=9))
    eventually(lambda: (r := replica(cluster)) and r.note)

    cluster.stop(JOB)
    cluster.submit(JOB, job(slices=2, **SLEEP))

    assert runs(cluster).claim_mib == (1024,)


def test_two_jobs_never_get_one_port(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    for job_id in (JOB, OTHER):
        cluster.submit(job_id, job(job_id, **SLEEP))

    registry = EmbeddedRegistry(tmp_path)
    eventually(lambda: len(registry.instances(ENGINE_SERVICE)) == 2)
    assert len({instance.port for instance in registry.instances(ENGINE_SERVICE)}) == 2


def test_node_attributes_reach_arguments_environment_and_tags(tmp_path: Path) -> None:
    line = "echo $WHERE ${meta.rack}; exec sleep 60"
    text = job(**shell(line))
    text = text.replace("PYTHONPATH =", 'WHERE = "${node.unique.name}"\n        PYTHONPATH =')
    text = text.replace('tags     = ["m"]', 'tags = ["${node.class}"]')
    only = node("n1", card("Small", 2048, node="n1", simulated=True), node_class="old", meta={"rack": "r7"})

    with Agent(tmp_path, (only,)):
        cluster = EmbeddedCluster(tmp_path)
        cluster.submit(JOB, text)
        eventually(lambda: list(cluster.logs(JOB, tail_lines=1)) == ["n1 r7"])
        found = eventually(lambda: EmbeddedRegistry(tmp_path).instances(ENGINE_SERVICE))

    assert [instance.tags for instance in found] == [("old",)]  # type: ignore[attr-defined] # a true value is some


def test_restart_mode_delay_waits_for_the_end_of_the_interval_and_goes_on(cluster: EmbeddedCluster) -> None:
    text = job(**shell("exit 1"))
    text = text.replace('interval = "1m"', 'interval = "300ms"').replace('mode     = "fail"', 'mode = "delay"')
    cluster.submit(JOB, text)

    eventually(lambda: told(cluster, "restarting") >= 4)
    assert told(cluster, "failed on") == 0
    assert told(cluster, "placed on") == 1


def test_a_limited_reschedule_gives_up_and_says_so(cluster: EmbeddedCluster) -> None:
    text = job(**shell("exit 1"))
    text = text.replace("attempts = 1", "attempts = 0")
    text = text.replace("unlimited      = true", 'unlimited = false\n attempts = 1\n interval = "1h"')
    cluster.submit(JOB, text)

    eventually(lambda: (r := replica(cluster)) and r.note.endswith("; 1 reschedules did not help"))
    assert told(cluster, "placed on") == 2
    assert replica(cluster).failures == 2  # type: ignore[union-attr] # it was there just now


def test_a_draining_node_gives_its_work_away_one_by_one(tmp_path: Path) -> None:
    both = tuple(node(name, card("C", 2048, node=name, simulated=True)) for name in ("node1", "node2"))
    with Agent(tmp_path, both):
        cluster = EmbeddedCluster(tmp_path)
        cluster.drain("node2", deadline_s=60)
        eventually(lambda: told(cluster, "node2 is draining"))
        for job_id in (JOB, OTHER):
            cluster.submit(job_id, job(job_id, **SLEEP))
        assert {runs(cluster, job_id).node for job_id in (JOB, OTHER)} == {"node1"}
        third = "llm-m-2-00000000"
        cluster.submit(third, job(third, **SLEEP))
        cluster.set_eligibility("node2", eligible=True)
        assert runs(cluster, third).node == "node2"

        cluster.drain("node1", deadline_s=60)

        eventually(lambda: [runs(cluster, i).node for i in (JOB, OTHER)].count("node2") == 1)
        stays = next(i for i in (JOB, OTHER) if runs(cluster, i).node == "node1")
        assert runs(cluster, stays).node == "node1"  # no room is left elsewhere: it keeps running
        assert told(cluster, "placed on") == 4


def test_a_stop_during_prestart_is_no_failure(cluster: EmbeddedCluster) -> None:
    fetch = """task "fetch" {
      driver = "raw_exec"
      lifecycle {
        hook = "prestart"
      }
      config {
        command = "/bin/sleep"
        args    = ["60"]
      }
    }"""
    cluster.submit(JOB, job(group=fetch))
    first = eventually(lambda: (r := replica(cluster)) and r.state is ReplicaState.FETCHING and r)
    assert first

    cluster.drain(first.node, deadline_s=60)

    eventually(lambda: (r := replica(cluster)) and r.alloc not in {"", first.alloc})
    assert told(cluster, "failed on") == 0


def test_following_logs_ends_with_the_allocation_and_misses_nothing(cluster: EmbeddedCluster) -> None:
    line = "trap 'echo last; printf word; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    cluster.submit(JOB, job(**shell(line)))
    eventually(lambda: list(cluster.logs(JOB, tail_lines=1)) == ["up"])
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend(cluster.logs(JOB, tail_lines=5, follow=True)))
    reader.start()

    cluster.stop(JOB)

    reader.join(10)
    assert not reader.is_alive()
    assert read == ["up", "last", "word"]


def test_a_look_at_the_lock_does_not_keep_an_agent_from_starting(tmp_path: Path) -> None:
    with (tmp_path / AGENT_LOCK).open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.05, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with Agent(tmp_path, nodes()):
            assert EmbeddedCluster(tmp_path).snapshot().nodes


def test_a_mark_on_a_node_of_an_earlier_agent_harms_nothing(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    StateFiles(tmp_path).marks.write({"gone": {"down": True}})
    cluster.submit(JOB, job(**SLEEP))

    assert runs(cluster)


def test_a_failed_agent_stops_what_it_ran_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    agent = Agent(tmp_path, nodes())
    cluster = EmbeddedCluster(tmp_path)
    with contextlib.ExitStack() as running_agent:
        running_agent.enter_context(agent)
        cluster.submit(JOB, job(**SLEEP))
        runs(cluster)
        assert agent.failure is None

        StateFiles(tmp_path).jobs.write({"broken": {"text": "no job"}})

        eventually(lambda: agent.failure is not None)
        eventually(lambda: running(str(tmp_path)) == [])
        assert told(cluster, "the embedded cluster failed")
        assert cluster.snapshot().replicas == ()
        assert EmbeddedRegistry(tmp_path).instances(ENGINE_SERVICE) == ()
        with pytest.raises(PermanentError, match="the embedded cluster failed"):
            running_agent.close()


def test_what_a_dead_process_left_in_its_session_is_ended_too(tmp_path: Path) -> None:
    record = Document(tmp_path / "processes.json")
    marker = f"60.{os.getpid()}"
    leader = subprocess.Popen(
        ["/bin/sh", "-c", f"sleep {marker} & echo $!; read end"],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with contextlib.ExitStack() as opened:
        for pipe in (leader.stdin, leader.stdout):
            assert pipe is not None
            opened.enter_context(pipe)
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        remember(record, leader.pid)
        leader.kill()
        leader.wait()
    assert child in running(marker)

    assert end_leftovers(record) == 1

    eventually(lambda: child not in running(marker))
    assert json.loads(record.path.read_bytes())["value"] == []


def test_a_process_that_got_a_known_pid_later_is_left_alone(tmp_path: Path) -> None:
    record = Document(tmp_path / "processes.json")
    innocent = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    try:
        record.write([[innocent.pid, time.time() - 3600]])
        assert end_leftovers(record) == 0
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()
