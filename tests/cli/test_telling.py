import pytest

from aivailable.cli.following import show
from aivailable.cli.telling import Teller
from aivailable.controller.follow import Progress
from aivailable.model.plan import Plan
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.model.transfer import MIB, Transfer


def at(done_mib: int, size_mib: int | None = 100) -> Transfer:
    size = None if size_mib is None else size_mib * MIB
    return Transfer(name="m.gguf", done_bytes=done_mib * MIB, size_bytes=size, bytes_per_s=25 * MIB)


def test_a_transfer_reads_as_sizes_percent_rate_and_time_left() -> None:
    assert str(at(50)) == "m.gguf: 50.0 of 100.0 MiB (50 %), 25.0 MiB/s, 2 s left"
    assert str(at(50, None)) == "m.gguf: 50.0 MiB, 25.0 MiB/s"


def test_what_is_short_is_not_told_and_what_is_long_is_told_to_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 0.1, 0.2, 0.9, 1.0, 1.1])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    tell = Teller()
    for transfer in (at(1), at(100), at(30), at(40), at(100)):
        tell(transfer)

    lines = capsys.readouterr().err.splitlines()
    assert [line.split("(")[1].split(")")[0] for line in lines] == ["30 %", "100 %"]


def look(state: ReplicaState, note: str = "") -> Progress:
    replica = Replica(model="m", variant="v", replica=0, job="j", state=state, node="node1", note=note)
    made = Plan(placements=(), actions=(), unplaced=(), cards=())
    return Progress(snapshot=Snapshot(), replicas=(replica,), waiting=(), unplaced=0, plan=made)


def test_lines_that_differ_in_their_seconds_only_are_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(float(second) for second in range(1, 100))
    monkeypatch.setattr("aivailable.cli.following.time.monotonic", lambda: next(clock))
    loading = [look(ReplicaState.LOADING, f"for {second} s") for second in range(14)]
    show([look(ReplicaState.PENDING, "waits for slices"), *loading, look(ReplicaState.SERVING)])

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ", 1)[1].split(" on ")[0] for line in lines] == ["pending", "loading", "loading", "serving"]
    assert lines[2].endswith("(for 10 s)")
