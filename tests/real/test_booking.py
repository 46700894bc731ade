"""Nomad and the plugin keep one ledger: nothing is given out twice, whatever dies in between."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.clients.nomad import NomadCluster
from aivailable.clients.nomad_api import NomadApi
from aivailable.settings import NomadSettings
from tests.embedded.jobs import job, shell
from tests.processes import ROOT, eventually
from tests.real.life import Life
from tests.real.rack import rack, why_not

pytestmark = [
    pytest.mark.nomad,
    pytest.mark.consul,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]

GOLDEN = sorted((ROOT / "tests" / "rendering" / "golden").glob("*.nomad.hcl"))
SLEEP = shell("exec sleep 300")
STUBBORN = shell("trap '' TERM INT; while true; do sleep 1; done")
JOBS = [f"llm-m-{number}-00000000" for number in range(4)]
WAIT_S = 40.0


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    # Agents are killed here and come back: slow to start, they must not have been given up meanwhile.
    with rack(heartbeats={}) as running:
        yield Life(running, {})


@pytest.fixture
def cluster(life: Life) -> Iterator[NomadCluster]:
    api = NomadApi(NomadSettings(address=life.rack.nomad))
    real = NomadCluster(api)
    yield real
    for job_id in JOBS:
        real.stop(job_id)
    eventually(lambda: real.snapshot().replicas == (), timeout_s=WAIT_S)
    api.close()


def text(life: Life, number: int, slices: int, *, command: object = SLEEP, priority: int = 50) -> str:
    """A job that wants slices of the one Tesla T4 (30 slices)."""
    made = job(
        JOBS[number],
        slices=slices,
        priority=priority,
        device=f'constraint {{\n attribute = "${{device.attr.uuid}}"\n value = "{t4(life)}"\n}}',
        **command,
    )  # type: ignore[arg-type] # the keywords of shell
    return made.replace('interval = "100ms"', 'interval = "1s"').replace('delay          = "100ms"', 'delay = "5s"')


def t4(life: Life) -> str:
    groups = [d for node in life.get("/nodes?resources=true") for d in node["NodeResources"]["Devices"]]
    return str(next(d["Name"] for d in groups if d["Attributes"]["model"]["String"] == "Tesla T4"))


def free(cluster: NomadCluster, life: Life) -> int:
    card = cluster.snapshot().card(t4(life))
    assert card is not None
    return card.free_slices


def runs(cluster: NomadCluster, number: int) -> bool:
    return any(r.job == JOBS[number] and r.state.value in {"loading", "serving"} for r in cluster.snapshot().replicas)


def register(life: Life, job_text: str) -> None:
    """By hand: without the dry run that keeps us from registering what has no place."""
    with httpx.Client(base_url=f"{life.rack.nomad}/v1", trust_env=False, timeout=10) as nomad:
        parsed = nomad.put("/jobs/parse", json={"JobHCL": job_text, "Canonicalize": True}).raise_for_status().json()
        nomad.put("/jobs", json={"Job": parsed}).raise_for_status()


@pytest.mark.parametrize("conditional", [False, True])
def test_slices_are_free_again_only_when_a_stubborn_task_is_dead(
    life: Life, cluster: NomadCluster, conditional: bool
) -> None:
    cluster.submit(JOBS[0], text(life, 0, 20, command=STUBBORN))
    eventually(lambda: runs(cluster, 0), timeout_s=WAIT_S)
    register(life, text(life, 1, 20))
    (replica,) = (r for r in cluster.snapshot().replicas if r.job == JOBS[0])
    cluster.stop(JOBS[0], index=replica.index if conditional else None)

    assert free(cluster, life) == 10
    eventually(lambda: runs(cluster, 1), timeout_s=WAIT_S)
    life.assert_nothing_is_booked_twice()
    assert free(cluster, life) == 10
    assert not [r for r in cluster.snapshot().replicas if r.job == JOBS[0]]


def test_a_preempted_task_is_dead_before_its_slices_are_used(life: Life, cluster: NomadCluster) -> None:
    preemption = {"SchedulerAlgorithm": "binpack", "PreemptionConfig": {"ServiceSchedulerEnabled": True}}
    where = f"{life.rack.nomad}/v1/operator/scheduler/configuration"
    httpx.put(where, json=preemption, trust_env=False).raise_for_status()
    cluster.submit(JOBS[0], text(life, 0, 25, command=STUBBORN, priority=20))
    eventually(lambda: runs(cluster, 0), timeout_s=WAIT_S)

    register(life, text(life, 1, 25, priority=80))

    eventually(lambda: runs(cluster, 1), timeout_s=WAIT_S)
    life.assert_nothing_is_booked_twice()
    assert not runs(cluster, 0)
    httpx.put(where, json={"SchedulerAlgorithm": "binpack", "PreemptionConfig": {}}, trust_env=False)


def test_a_killed_plugin_comes_back_and_books_on(life: Life, cluster: NomadCluster) -> None:
    cluster.submit(JOBS[0], text(life, 0, 20))
    eventually(lambda: runs(cluster, 0), timeout_s=WAIT_S)
    before = life.pids("node1", "aivailable.devices")
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    eventually(lambda: set(life.pids("node1", "aivailable.devices")) - set(before), timeout_s=WAIT_S)
    register(life, text(life, 1, 20))
    register(life, text(life, 2, 10))

    eventually(lambda: runs(cluster, 2), timeout_s=WAIT_S)
    assert runs(cluster, 0)
    assert not runs(cluster, 1)
    life.assert_nothing_is_booked_twice()


def test_a_killed_agent_comes_back_with_its_tasks_and_their_slices(life: Life, cluster: NomadCluster) -> None:
    cluster.submit(JOBS[0], text(life, 0, 20))
    eventually(lambda: runs(cluster, 0), timeout_s=WAIT_S)
    tasks = life.pids("node1", "sleep 300")
    life.rack.kill("nomad-node1")
    life.rack.start_nomad("node1")
    life.rack.wait_for_nodes("node1")

    eventually(lambda: runs(cluster, 0), timeout_s=WAIT_S)
    register(life, text(life, 1, 20))
    register(life, text(life, 2, 10))
    eventually(lambda: runs(cluster, 2), timeout_s=WAIT_S)

    assert life.pids("node1", "sleep 300")[: len(tasks)] == tasks
    assert not runs(cluster, 1)
    assert free(cluster, life) == 0
    life.assert_nothing_is_booked_twice()


def test_a_card_that_goes_and_comes_back_is_booked_as_before(life: Life, cluster: NomadCluster) -> None:
    cluster.submit(JOBS[0], text(life, 0, 20))
    eventually(lambda: runs(cluster, 0), timeout_s=WAIT_S)
    whole = life.rack.inventory().read_text()
    without = whole.replace('name = "Tesla T4"\n', 'name = "Tesla T4"\nhealthy = false\n')
    life.rack.inventory().write_text(without)

    eventually(lambda: (c := cluster.snapshot().card(t4(life))) and not c.healthy, timeout_s=WAIT_S)
    register(life, text(life, 1, 5))
    life.rack.inventory().write_text(whole)

    eventually(lambda: (c := cluster.snapshot().card(t4(life))) and c.healthy, timeout_s=WAIT_S)
    eventually(lambda: runs(cluster, 1), timeout_s=WAIT_S)  # blocked while unhealthy; health_epoch unblocks it
    register(life, text(life, 2, 10))
    assert free(cluster, life) == 5
    life.assert_nothing_is_booked_twice()
    assert runs(cluster, 0)
    assert not runs(cluster, 2)


def test_a_foreign_job_on_our_cards_is_seen(life: Life, cluster: NomadCluster) -> None:
    register(life, text(life, 0, 7).replace(JOBS[0], "someone-elses").replace('model   = "m"', 'owner = "x"'))

    eventually(lambda: free(cluster, life) == 23, timeout_s=WAIT_S)
    assert cluster.snapshot().replicas == ()
    cluster.stop("someone-elses")
    eventually(lambda: free(cluster, life) == 30, timeout_s=WAIT_S)


def test_a_card_that_a_stranger_uses_is_refused_in_the_tasks_events(life: Life, cluster: NomadCluster) -> None:
    whole = life.rack.inventory().read_text()
    life.rack.inventory().write_text(whole.replace('name = "Tesla T4"\n', 'name = "Tesla T4"\nforeign_mib = 9000\n'))
    try:
        register(life, text(life, 0, 20))

        said = eventually(
            lambda: [e.text for e in cluster.events(50) if "are held by what is no task of Nomad" in e.text],
            timeout_s=WAIT_S,
        )
        assert "card Tesla T4" in said[0]
        assert "is short of 3880 MiB" in said[0]
        eventually(lambda: (c := cluster.snapshot().card(t4(life))) and c.foreign_mib == 9216, timeout_s=WAIT_S)
    finally:
        life.rack.inventory().write_text(whole)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_nomad_takes_every_golden_job(life: Life, golden: Path) -> None:
    """Also those that need Docker or a vendor's runtime, which are not run."""
    with httpx.Client(base_url=f"{life.rack.nomad}/v1", trust_env=False, timeout=10) as nomad:
        parsed = nomad.put("/jobs/parse", json={"JobHCL": golden.read_text(), "Canonicalize": True})
        assert parsed.status_code == 200, parsed.text
        checked = nomad.put("/validate/job", json={"Job": parsed.json()}).json()

    assert (checked.get("ValidationErrors") or [], checked.get("Error", "")) == ([], "")
