"""The benchmark of availability: what it sends, breaks and reckons, and that it runs."""

import asyncio
import itertools
import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from aivailable.gateway.policies import Policies
from aivailable.model.cards import Card, Node, Vendor
from aivailable.model.fleet import Fleet, ModelSpec, Variant
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.settings import shipped
from bench.availability.__main__ import main
from bench.availability.arrivals import WORDS_MAX, Arrival, arrivals, read_trace
from bench.availability.attribution import attribute
from bench.availability.backend import overcommitted_mib, spare, spare_nodes, whole
from bench.availability.client import Load, stopwatch
from bench.availability.records import Done, Record, Result, Try
from bench.availability.report import Run, longest_gaps, report
from bench.availability.schedule import KINDS, QUIET_AFTER_S, QUIET_BEFORE_S, Lane, schedule
from bench.availability.without import hardened, policies
from tests.processes import ROOT, free_port, running, stand_ins
from tests.real.rack import why_not

RUN = Run(machine="m", backend="embedded", seconds=10, rate=1, seed=1)


def arrival(number: int = 0, *, at_s: float = 0.0, model: str = "a", streamed: bool = False) -> Arrival:
    return Arrival(number=number, at_s=at_s, model=model, words=3, prompt_bytes=10, streamed=streamed)


def record(
    result: Result, *, at_s: float, ended_s: float, model: str = "a", gateways: tuple[str, ...] = ("g0",)
) -> Record:
    tries = [Try(gateway=gateway, begun_s=at_s, ended_s=ended_s) for gateway in gateways]
    asked = arrival(at_s=at_s, model=model, streamed=result is Result.CUT)
    return Record(arrival=asked, id="x", ended_s=ended_s, result=result, tries=tries)


def fault(kind: str, begun_s: float, *, ended_s: float = 0.0, gateway: str = "", models: tuple[str, ...] = ()) -> Done:
    known = KINDS[kind]
    return Done(
        number=1,
        kind=kind,
        target="t",
        begun_s=begun_s,
        ended_s=ended_s or begun_s,
        hard=known.hard,
        silent=known.silent,
        gateway=gateway,
        models=models,
    )


def test_as_many_requests_come_as_are_asked_for_in_bursts_and_the_same_again() -> None:
    trace = read_trace()
    made = arrivals(trace, ("a", "b"), rate=50, seconds=60, seed=1)
    in_a_second = Counter(int(one.at_s) for one in made)

    assert len(trace) == 4000
    assert len(made) == 3000
    assert [one.at_s for one in made] == sorted(one.at_s for one in made)
    assert made[-1].at_s == pytest.approx(60)
    assert max(in_a_second.values()) > 60
    assert min(in_a_second.values()) > 10
    assert {one.model for one in made} == {"a", "b"}
    assert 1400 < sum(one.streamed for one in made) < 1600
    assert 1 <= min(one.words for one in made) < max(one.words for one in made) == WORDS_MAX
    assert made == arrivals(trace, ("a", "b"), rate=50, seconds=60, seed=1)
    assert made != arrivals(trace, ("a", "b"), rate=50, seconds=60, seed=2)


def test_faults_of_a_lane_follow_each_other_and_every_kind_comes_as_often() -> None:
    made = schedule(KINDS, seconds=3600, seed=1)

    assert made == schedule(KINDS, seconds=3600, seed=1) != schedule(KINDS, seconds=3600, seed=2)
    for lane, faults in made.items():
        assert {one.kind.lane for one in faults} == {lane}
        assert faults[0].at_s >= QUIET_BEFORE_S
        assert faults[-1].at_s < 3600 - QUIET_AFTER_S
        assert all(later.at_s > one.at_s + one.hold_s for one, later in itertools.pairwise(faults))
        counts = Counter(one.kind.name for one in faults)
        assert set(counts) == {kind.name for kind in KINDS.values() if kind.lane is lane}
        assert max(counts.values()) - min(counts.values()) <= 1


def test_only_what_a_back_end_has_is_broken_and_a_short_run_breaks_nothing() -> None:
    made = schedule({"engine-kill"}, seconds=100, seed=1)

    assert {one.kind.name for faults in made.values() for one in faults} == {"engine-kill"}
    assert made[Lane.GATEWAY] == ()
    assert all(faults == () for faults in schedule(KINDS, seconds=10, seed=1).values())


@pytest.mark.parametrize(
    ("done", "explained"),
    [
        (fault("gateway-envoy-kill", 5.0, gateway="g0"), True),
        (fault("gateway-envoy-kill", 5.0, gateway="g1"), False),
        (fault("engine-kill", 5.0, models=("a",)), True),
        (fault("engine-kill", 5.0, models=("b",)), False),
        (fault("engine-kill", 1.0, models=("a",)), False),
        (fault("engine-freeze", 0.5, ended_s=4.0, models=("a",)), True),
        (fault("update", 4.0, ended_s=9.0, models=("a",)), False),
        (fault("controller-kill", 5.0), False),
    ],
)
def test_a_cut_stream_is_a_failure_unless_a_kill_explains_it(done: Done, *, explained: bool) -> None:
    cut = record(Result.CUT, at_s=4.5, ended_s=5.5)
    attribute([cut], [done])

    assert cut.result is (Result.CUT if explained else Result.FAILED)


def test_a_report_counts_cut_streams_apart_and_tells_which_fault_did_what() -> None:
    records = [
        record(Result.OK, at_s=0.5, ended_s=1.0),
        record(Result.OK, at_s=5.0, ended_s=6.0, gateways=("g0", "g1")),
        record(Result.CUT, at_s=4.5, ended_s=5.5),
        record(Result.FAILED, at_s=9.0, ended_s=9.5, model="b"),
    ]
    faults = [fault("gateway-envoy-kill", 5.0, gateway="g0")]
    attribute(records, faults)
    found = report(RUN, records, faults, overcommitted_mib=0, looks=3)

    assert (found["requests"], found["failed"], found["cut_streams"], found["retried"]) == (4, 1, 1, 1)
    assert found["availability"] == 0.75
    assert found["longest_gap_s"] == {"a": 5.0, "b": 10}
    assert (found["faults"][0]["cut"], found["faults"][0]["retried"], found["faults"][0]["failed"]) == (1, 1, 0)
    assert found["failures"][0]["fault"] is None
    assert json.loads(json.dumps(found)) == found


def test_a_gap_reaches_from_the_start_and_to_the_end_of_the_load() -> None:
    assert longest_gaps([record(Result.OK, at_s=1, ended_s=4)], 10) == {"a": 6}
    assert longest_gaps([record(Result.OK, at_s=1, ended_s=4)], 5) == {"a": 4}


def seen(*replicas: tuple[str, str, ReplicaState]) -> Snapshot:
    cards = {name: Card(uuid=name, index=0, vendor=Vendor.NVIDIA, name="T4", total_mib=1000) for name in "xyz"}
    return Snapshot(
        nodes=tuple(Node(id=name, name=name, cards=(card,)) for name, card in cards.items()),
        replicas=tuple(
            Replica(
                model=model, variant="", replica=n, job=f"j{n}", state=state, node=node, cards=(node,), claim_mib=(600,)
            )
            for n, (model, node, state) in enumerate(replicas)
        ),
    )


def test_only_what_another_replica_can_stand_in_for_is_hit() -> None:
    serving, loading = ReplicaState.SERVING, ReplicaState.LOADING
    two = Fleet(models=(ModelSpec(name="a", variants=(Variant(source="s"),), replicas=2),))

    both = seen(("a", "x", serving), ("a", "y", serving))
    assert whole(two, both)
    assert [replica.node for replica in spare(both)] == ["x", "y"]
    assert set(spare_nodes(both)) == {"x", "y"}
    one = seen(("a", "x", serving), ("a", "y", loading))
    assert not whole(two, one)
    assert spare(one) == []
    assert spare_nodes(one) == {}
    together = seen(("a", "x", serving), ("a", "x", serving))
    assert not whole(two, together)
    assert spare(together) == []
    assert overcommitted_mib(both, {"x": 900}) == 0
    assert overcommitted_mib(both, {"x": 1100, "of another rack": 9999}) == 100
    assert overcommitted_mib(together, {}) == 200


def test_mechanisms_are_switched_off_one_by_one() -> None:
    read = Policies.read(shipped("envoy"))

    assert policies(read, "") == read
    assert policies(read, "retries").retry == {"retry_on": "", "num_retries": 0}
    assert policies(read, "retries").upstream == read.upstream
    assert "outlier_detection" not in policies(read, "ejection").upstream
    job = (ROOT / "tests" / "rendering").glob("**/*llamacpp*.hcl")
    for golden in job:
        hard = hardened(golden.read_text())
        assert hard.count("constraint {") > golden.read_text().count("constraint {")
        assert "affinity" not in hard
    with pytest.raises(ValueError, match="no affinities"):
        hardened("job {}")


def test_a_client_asks_the_other_gateway_and_judges_what_is_said() -> None:
    dead = free_port()
    with stand_ins(1, "--load-s", "0") as (engine,):
        load = Load(gateways=lambda: (f"127.0.0.1:{dead}", f"127.0.0.1:{engine.port}"), key="k", clock_s=stopwatch())
        asked = [arrival(number, at_s=number * 0.02, streamed=number % 2 == 1) for number in range(8)]
        asyncio.run(load.run(asked))
        wrong = replace(load.records[0].arrival, number=1)
        odd = Load(gateways=lambda: (f"127.0.0.1:{engine.port}",), key="k", clock_s=stopwatch())
        asyncio.run(odd.run([replace(wrong, words=0)]))

    assert [record.result for record in load.records] == [Result.OK] * 8
    assert [record.retried for record in load.records] == [True, False] * 4
    assert {record.tries[0].why for record in load.records[::2]} == {"refused"}
    # Asked for no words the stand-in says its usual sixteen.
    assert odd.records[0].result is Result.FAILED
    assert odd.records[0].why.startswith("wrong answer")


def test_what_cannot_be_asked_for_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--nomad", "--without", "retries"])

    assert ended.value.code == 2
    assert "hint: leave --nomad away" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.envoy
@pytest.mark.timeout(180)
def test_it_runs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.availability", "--json", "--keep", str(tmp_path / "state")]
    done = subprocess.run([*command, "--seconds", "25"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    assert (found["requests"], found["failed"], found["overcommitted_mib"]) == (1250, 0, 0)
    assert found["faults"]
    assert running(str(tmp_path / "state")) == []


@pytest.mark.slow
@pytest.mark.envoy
@pytest.mark.timeout(180)
def test_an_interrupted_run_stops_everything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    process = subprocess.Popen([sys.executable, "-m", "bench.availability", "--keep", str(state)], cwd=ROOT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(20)
    process.send_signal(signal.SIGINT)
    process.wait(90)

    assert running(str(state)) == []


@pytest.mark.slow
@pytest.mark.nomad
@pytest.mark.consul
@pytest.mark.envoy
@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one")
def test_it_runs_on_a_real_rack(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--nomad", "--json", "--seconds", "40"])
    found = json.loads(capsys.readouterr().out)

    assert (found["requests"], found["failed"], found["overcommitted_mib"]) == (2000, 0, 0)
    assert found["faults"]
