"""What Prometheus reads of a controller; how it is served: tests/page."""

from dataclasses import replace

from prometheus_client import generate_latest

from aivailable.controller.apply import Outcome
from aivailable.controller.loop import Step
from aivailable.controller.metrics import Metrics
from aivailable.errors import RetryableError
from aivailable.model.replica import Replica, ReplicaState
from aivailable.placement import plan
from tests.samples import fleet, model, rack

WANTED = fleet(model("m", replicas=2))


def step(at_s: float, *states: ReplicaState) -> Step:
    """A round that saw replicas in these states."""
    empty = rack()
    made = plan(WANTED, empty)
    replicas = tuple(
        Replica(
            model="m",
            variant="v",
            replica=number,
            job=f"llm-m-{number}-00000000",
            state=state,
            node="node1",
            cards=("GPU-node1-1",),
            claim_mib=(2048,),
            measured_mib=3000 if number else None,
        )
        for number, state in enumerate(states)
    )
    outcomes = tuple(Outcome(action=action, text="x") for action in made.actions) if at_s == 0 else ()
    return Step(at_s=at_s, snapshot=replace(empty, replicas=replicas), plan=made, outcomes=outcomes, plan_s=0.01)


def read(metrics: Metrics) -> dict[str, float]:
    text = generate_latest(metrics.registry).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_a_leader_shows_what_is_wanted_serving_and_how_long_a_loss_took() -> None:
    metrics = Metrics(lambda: {"GPU-node1-1": 100}, now=lambda: 1e9)
    metrics.leads(leading=True)
    metrics.stepped(step(0.0, ReplicaState.SERVING, ReplicaState.SERVING))
    metrics.stepped(step(10.0, ReplicaState.LOST, ReplicaState.SERVING))
    metrics.stepped(step(13.0, ReplicaState.LOADING, ReplicaState.SERVING))
    metrics.stepped(step(17.5, ReplicaState.SERVING, ReplicaState.SERVING))

    found = read(metrics)

    assert found["aivailable_leading"] == 1
    assert found['aivailable_replicas_wanted{model="m"}'] == 2
    assert found['aivailable_replicas_serving{model="m"}'] == 2
    assert found['aivailable_reallocation_seconds_count{model="m"}'] == 1
    assert found['aivailable_reallocation_seconds_sum{model="m"}'] == 7.5
    assert found["aivailable_plan_seconds_count"] == 4
    assert found['aivailable_actions_total{kind="start",outcome="done"}'] == 2
    card = '{card="GPU-node1-1",name="Tesla T4",node="node1"}'
    assert found[f"aivailable_vram_total_bytes{card}"] == 15360 * 2**20
    assert found[f"aivailable_vram_claimed_bytes{card}"] == 0
    assert found[f"aivailable_vram_used_bytes{card}"] == 100 * 2**20
    assert found[f"aivailable_vram_foreign_bytes{card}"] == 0
    assert found[f"aivailable_card_healthy{card}"] == 1
    assert found["aivailable_last_round_timestamp_seconds"] == 1e9
    assert found['aivailable_replicas_unplaced{model="m"}'] == 0


def test_a_leader_shows_what_each_replica_booked_and_was_seen_to_hold() -> None:
    metrics = Metrics(dict)
    metrics.leads(leading=True)
    metrics.stepped(step(0.0, ReplicaState.LOADING, ReplicaState.SERVING))

    found = read(metrics)

    assert found['aivailable_replicas{model="m",state="loading"}'] == 1
    assert found['aivailable_replicas{model="m",state="serving"}'] == 1
    assert found['aivailable_replicas{model="m",state="lost"}'] == 0
    first, second = (
        f'{{card="GPU-node1-1",model="m",node="node1",nomad_job="llm-m-{number}-00000000",replica="{number}"}}'
        for number in (0, 1)
    )
    assert found[f"aivailable_replica_claimed_bytes{first}"] == 2048 * 2**20
    assert found[f"aivailable_replica_measured_bytes{second}"] == 3000 * 2**20
    assert f"aivailable_replica_measured_bytes{first}" not in found


def test_replicas_without_a_place_are_counted() -> None:
    metrics = Metrics(dict)
    metrics.leads(leading=True)
    too_many = fleet(model("m", replicas=200))
    made = plan(too_many, rack())
    metrics.stepped(Step(at_s=0.0, snapshot=rack(), plan=made, outcomes=(), plan_s=0.01))

    found = read(metrics)

    assert found['aivailable_replicas_wanted{model="m"}'] == 200
    assert 0 < found['aivailable_replicas_unplaced{model="m"}'] < 200


def test_who_does_not_lead_shows_no_cluster() -> None:
    metrics = Metrics(dict)
    metrics.leads(leading=True)
    metrics.stepped(step(0.0, ReplicaState.SERVING))
    metrics.leads(leading=False)

    assert not [name for name in read(metrics) if name.startswith(("aivailable_replica", "aivailable_vram"))]


def test_an_agent_that_does_not_answer_hides_only_what_is_in_use() -> None:
    def fails() -> dict[str, int]:
        raise RetryableError("no answer")

    metrics = Metrics(fails)
    metrics.leads(leading=True)
    metrics.stepped(step(0.0))

    found = read(metrics)
    assert any(name.startswith("aivailable_vram_total_bytes") for name in found)
    assert not any(name.startswith("aivailable_vram_used_bytes") for name in found)
