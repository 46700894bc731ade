"""The agent with real processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aivailable.embedded.agent import Agent
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.state import StateFiles, is_running
from aivailable.errors import UserError
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import ENGINE_SERVICE
from tests.embedded.jobs import ROOT, job, nodes, shell
from tests.processes import eventually, running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    with Agent(tmp_path, nodes()):
        yield EmbeddedCluster(tmp_path)
    assert running(str(tmp_path)) == []


def replica(cluster: EmbeddedCluster, job_id: str = "llm-m-0-00000000") -> Replica | None:
    return next((r for r in cluster.snapshot().replicas if r.job == job_id), None)


def reaches(cluster: EmbeddedCluster, state: ReplicaState, job_id: str = "llm-m-0-00000000") -> Replica:
    def check() -> Replica | None:
        found = replica(cluster, job_id)
        return found if found and found.state is state else None

    return eventually(check)  # type: ignore[return-value] # eventually gives a true value


def told(cluster: EmbeddedCluster, text: str) -> bool:
    return any(text in event.text for event in cluster.events(200))


def pid_of(state: Path) -> int:
    _, known = StateFiles(state).processes.read()
    return int(known[-1][0])


def booked(cluster: EmbeddedCluster) -> dict[str, int]:
    return {c.name: c.slices - c.free_slices for n in cluster.snapshot().nodes for c in n.cards}


def test_a_job_runs_is_checked_and_is_registered(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    cluster.submit("llm-m-0-00000000", job(slices=3))
    seen = reaches(cluster, ReplicaState.SERVING)

    (instance,) = EmbeddedRegistry(tmp_path).instances(ENGINE_SERVICE)
    assert instance.passing
    assert instance.meta == {"model": "m", "alloc": seen.alloc}
    assert instance.id == f"_nomad-task-{seen.alloc}-group-engine-llm-engine-http"
    assert seen.claim_mib == (1536,)
    assert seen.load_s is not None
    assert sorted(booked(cluster).values()) == [0, 3]


def test_submitting_twice_is_harmless_and_another_text_of_that_id_is_ignored(cluster: EmbeddedCluster) -> None:
    cluster.submit("llm-m-0-00000000", job())
    before = reaches(cluster, ReplicaState.SERVING)
    cluster.submit("llm-m-0-00000000", job(slices=4))
    cluster.submit("llm-m-0-00000000", job())
    reaches(cluster, ReplicaState.SERVING)

    after = replica(cluster)
    assert after is not None
    assert (after.alloc, after.claim_mib) == (before.alloc, before.claim_mib)


def test_a_job_that_does_not_fit_waits_with_the_reason_and_starts_when_there_is_room(
    cluster: EmbeddedCluster,
) -> None:
    cluster.submit("llm-m-0-00000000", job(slices=8))
    reaches(cluster, ReplicaState.SERVING)
    cluster.submit("llm-m-1-00000000", job("llm-m-1-00000000", slices=5))
    waiting = reaches(cluster, ReplicaState.PENDING, "llm-m-1-00000000")
    assert "no card with 5 free slices" in waiting.note

    cluster.stop("llm-m-0-00000000")

    assert reaches(cluster, ReplicaState.SERVING, "llm-m-1-00000000").node == "node2"
    assert replica(cluster) is None


def test_a_killed_engine_is_critical_at_once_and_restarted_in_place(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    cluster.submit("llm-m-0-00000000", job())
    before = reaches(cluster, ReplicaState.SERVING)
    registry = EmbeddedRegistry(tmp_path)

    os.kill(pid_of(tmp_path), signal.SIGKILL)

    eventually(lambda: [i.passing for i in registry.instances(ENGINE_SERVICE)] == [False], timeout_s=0.5)
    eventually(lambda: told(cluster, "was killed by signal 9; restarting in 0.1 s (1 of 1)"))
    assert reaches(cluster, ReplicaState.SERVING).alloc == before.alloc


def test_an_engine_that_keeps_crashing_is_moved_to_another_node(cluster: EmbeddedCluster) -> None:
    cluster.submit("llm-m-0-00000000", job(**shell("echo no luck; exit 3")))

    eventually(lambda: told(cluster, "failed on node1") and told(cluster, "failed on node2"))
    assert told(cluster, "engine exited with code 3; 1 restarts did not help")
    eventually(lambda: "no luck" in list(cluster.logs("llm-m-0-00000000", tail_lines=5)))


def test_a_command_that_does_not_exist_is_told(cluster: EmbeddedCluster) -> None:
    cluster.submit("llm-m-0-00000000", job(command="/no/such/engine", args=("x",)))

    eventually(lambda: told(cluster, "cannot start"))


def test_the_loss_of_a_node_re_places_its_work_and_revival_takes_it_back(cluster: EmbeddedCluster) -> None:
    cluster.submit("llm-m-0-00000000", job())
    before = reaches(cluster, ReplicaState.SERVING)
    other = "node2" if before.node == "node1" else "node1"

    cluster.set_node_down(before.node, down=True)

    eventually(lambda: (r := replica(cluster)) and r.node == other and r.state is ReplicaState.SERVING)
    assert told(cluster, f"{before.node} is down")
    assert told(cluster, f"lost with {before.node}")
    cluster.set_node_down(other, down=True)
    lost = reaches(cluster, ReplicaState.LOST)
    assert f"lost with {other}" in lost.note
    cluster.set_node_down(before.node, down=False)
    assert reaches(cluster, ReplicaState.SERVING).node == before.node


def test_a_drained_node_gives_its_work_away_where_there_is_room(cluster: EmbeddedCluster) -> None:
    cluster.submit("llm-m-0-00000000", job(slices=8))
    assert reaches(cluster, ReplicaState.SERVING).node == "node2"
    cluster.submit("llm-m-1-00000000", job("llm-m-1-00000000"))
    reaches(cluster, ReplicaState.SERVING, "llm-m-1-00000000")

    cluster.drain("node2", deadline_s=60)

    eventually(lambda: told(cluster, "node2 is draining"))
    assert reaches(cluster, ReplicaState.SERVING).node == "node2"  # nowhere else has 8 slices
    cluster.set_eligibility("node2", eligible=True)
    cluster.drain("node1", deadline_s=60)
    cluster.stop("llm-m-0-00000000")
    eventually(lambda: (r := replica(cluster, "llm-m-1-00000000")) and r.node == "node2")


def test_an_unknown_node_is_refused_with_the_nearest_name(cluster: EmbeddedCluster) -> None:
    with pytest.raises(UserError, match="did you mean node1"):
        cluster.set_node_down("nod1", down=True)


def test_stopping_leaves_the_registry_then_asks_then_kills(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    deaf = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
    cluster.submit("llm-m-0-00000000", job(**shell(deaf)).replace('kill_timeout = "2s"', 'kill_timeout = "700ms"'))
    eventually(lambda: "ready" in list(cluster.logs("llm-m-0-00000000", tail_lines=5)))
    begin = time.monotonic()

    cluster.stop("llm-m-0-00000000")

    reaches(cluster, ReplicaState.STOPPING)
    assert EmbeddedRegistry(tmp_path).instances(ENGINE_SERVICE) == ()
    assert sum(booked(cluster).values()) == 2  # booked until it is dead
    eventually(lambda: replica(cluster) is None)
    assert 0.7 <= time.monotonic() - begin < 4.0
    assert told(cluster, "did not end within 0.7 s; killed")
    assert sum(booked(cluster).values()) == 0


def test_an_id_can_be_used_again_right_after_a_stop(cluster: EmbeddedCluster) -> None:
    cluster.submit("llm-m-0-00000000", job())
    first = reaches(cluster, ReplicaState.SERVING)

    cluster.stop("llm-m-0-00000000")
    cluster.submit("llm-m-0-00000000", job(slices=1))

    eventually(lambda: (r := replica(cluster)) and r.alloc not in {"", first.alloc} and r.claim_mib == (512,))


def test_the_environment_of_device_task_and_template_reaches_the_process(cluster: EmbeddedCluster) -> None:
    more = 'template {\n data = <<EOT\nBOTH={{ env "AIVAILABLE_CARD_0" }},x\nEOT\n destination = "a"\n env = true\n}'
    line = "echo $CUDA_VISIBLE_DEVICES $AIVAILABLE_SIMULATED $AIVAILABLE_VRAM_MIB_0 $BOTH $NOMAD_JOB_ID; exec sleep 60"
    constraint = 'constraint {\n attribute = "${device.attr.model}"\n value = "Small"\n}'

    cluster.submit("llm-m-0-00000000", job(task=more, device=constraint, **shell(line)))

    expected = "GPU-node1-0 1 1024 GPU-node1-0,x llm-m-0-00000000"
    eventually(lambda: expected in list(cluster.logs("llm-m-0-00000000", tail_lines=5)))


def test_a_prestart_task_runs_to_its_end_first(cluster: EmbeddedCluster) -> None:
    fetch = """task "fetch" {
      driver = "raw_exec"
      lifecycle {
        hook = "prestart"
      }
      config {
        command = "/bin/sh"
        args    = ["-c", "sleep 0.3; echo weights > ${NOMAD_ALLOC_DIR}/model"]
      }
    }"""
    line = "cat $NOMAD_ALLOC_DIR/model; exec sleep 60"

    cluster.submit("llm-m-0-00000000", job(group=fetch, **shell(line)))

    reaches(cluster, ReplicaState.FETCHING)
    eventually(lambda: "weights" in list(cluster.logs("llm-m-0-00000000", tail_lines=5)))


def test_a_failing_prestart_task_fails_the_allocation(cluster: EmbeddedCluster) -> None:
    fetch = """task "fetch" {
      driver = "raw_exec"
      lifecycle {
        hook = "prestart"
      }
      config {
        command = "/bin/false"
        args    = []
      }
    }"""
    cluster.submit("llm-m-0-00000000", job(group=fetch))

    eventually(lambda: told(cluster, "prestart task fetch exited with code 1"))


def test_a_loading_engine_shows_its_last_percentage_and_the_time(cluster: EmbeddedCluster) -> None:
    line = "echo Loading shards: 0%; echo Loading shards: 50%; exec sleep 60"
    cluster.submit("llm-m-0-00000000", job(**shell(line)))

    eventually(lambda: (r := replica(cluster)) and r.note.startswith("50 %, for "))
    eventually(lambda: (r := replica(cluster)) and r.note == "50 %, for 1 s")


def test_logs_follow_what_comes(cluster: EmbeddedCluster) -> None:
    line = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); sleep 0.05; done"
    cluster.submit("llm-m-0-00000000", job(**shell(line)))
    eventually(lambda: list(cluster.logs("llm-m-0-00000000", tail_lines=1)))

    with contextlib.closing(cluster.logs("llm-m-0-00000000", tail_lines=1, follow=True)) as lines:
        read = [next(lines) for _ in range(4)]

    first = int(read[0].split()[1])
    assert read == [f"line {number}" for number in range(first, first + 4)]


def test_a_second_agent_on_one_directory_is_refused(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    del cluster
    assert is_running(tmp_path)
    with pytest.raises(UserError, match=f"process {os.getpid()}"), Agent(tmp_path, nodes()):
        pass


def test_another_process_sees_the_cluster_and_may_change_it(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    cluster.submit("llm-m-0-00000000", job())
    seen = reaches(cluster, ReplicaState.SERVING)
    code = (
        "import sys, json; from pathlib import Path; from aivailable.embedded.cluster import EmbeddedCluster;"
        "c = EmbeddedCluster(Path(sys.argv[1])); r = c.snapshot().replicas[0]; print(json.dumps([r.job, r.node]));"
        "c.set_node_down(r.node, down=True)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30, cwd=ROOT
    )

    assert json.loads(done.stdout) == [seen.job, seen.node]
    eventually(lambda: (r := replica(cluster)) and r.node not in {"", seen.node})


def test_what_a_crashed_agent_left_running_is_ended_at_the_next_start(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from aivailable.embedded.agent import Agent;"
        "from aivailable.embedded.cluster import EmbeddedCluster; from tests.embedded.jobs import job, nodes;"
        "s = Path(sys.argv[1]); a = Agent(s, nodes()).__enter__();"
        "EmbeddedCluster(s).submit('llm-m-0-00000000', job());"
        "print('up', flush=True); time.sleep(60)"
    )
    crashing = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        cluster = EmbeddedCluster(tmp_path)
        eventually(lambda: (r := replica(cluster)) and r.state is ReplicaState.SERVING, timeout_s=20)
        left = pid_of(tmp_path)
    finally:
        crashing.kill()
        crashing.communicate()
    assert Path(f"/proc/{left}").exists()
    assert not is_running(tmp_path)

    with Agent(tmp_path, nodes()):
        assert cluster.snapshot().replicas == ()
        assert left not in running(str(tmp_path))
