"""A controller that cannot reach the cluster leaves the lead to one that can."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aivailable.controller.leading import Fitness
from aivailable.controller.loop import Controller
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.errors import PermanentError, RetryableError
from aivailable.model.snapshot import Snapshot
from aivailable.settings import Settings
from tests.processes import eventually

CUT = RetryableError("cut off")
PATIENCE_S = 15.0
SETTINGS = Settings(tick_s=0.05)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Answers:
    """What a probe meets."""

    error: RetryableError | None = None

    def __call__(self) -> None:
        if self.error:
            raise self.error


def judged() -> tuple[Fitness, Answers, Clock]:
    clock, answers = Clock(), Answers()
    return Fitness(answers, PATIENCE_S, clock=clock), answers, clock


def test_a_leader_has_patience_with_a_cluster_that_it_has_reached() -> None:
    fitness, answers, clock = judged()
    fitness.begins()
    fitness.worked()
    clock.now_s = PATIENCE_S - 1
    fitness.failed(CUT)
    assert not fitness.unfit

    clock.now_s, answers.error = PATIENCE_S, CUT
    fitness.failed(CUT)
    assert fitness.unfit
    assert not fitness.fit()

    answers.error = None
    assert fitness.fit()
    assert not fitness.unfit


def test_who_comes_to_lead_and_reaches_nothing_does_not_stay() -> None:
    fitness, _, _ = judged()
    fitness.worked()
    fitness.begins()
    fitness.failed(CUT)
    assert fitness.unfit


def test_an_error_that_every_controller_would_meet_is_no_reason_to_go() -> None:
    fitness, _, clock = judged()
    fitness.begins()
    clock.now_s = 2 * PATIENCE_S
    fitness.failed(PermanentError("nobody can read this"))
    assert not fitness.unfit


class Leads:
    """A watcher that knows whether its controller leads."""

    now = False

    def stepped(self, step: object) -> None:
        pass

    def leads(self, *, leading: bool) -> None:
        self.now = leading


class Cuttable(EmbeddedCluster):
    """A cluster that one controller may be cut off from."""

    cut = False

    def snapshot(self) -> Snapshot:
        if self.cut:
            raise CUT
        return super().snapshot()


@contextmanager
def controllers(state: Path, count: int) -> Iterator[list[tuple[Cuttable, Leads]]]:
    stop = threading.Event()
    parts = [(Cuttable(state), Leads()) for _ in range(count)]
    threads = [
        threading.Thread(target=Controller(cluster, EmbeddedRegistry(state), SETTINGS, watcher=leads).run, args=(stop,))
        for cluster, leads in parts
    ]
    for thread in threads:
        thread.start()
    try:
        yield parts
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()


def test_the_lead_goes_to_the_controller_that_reaches_the_cluster(tmp_path: Path) -> None:
    with controllers(tmp_path, 2) as parts:
        eventually(lambda: any(leads.now for _, leads in parts))
        (cut, left), (other, leads) = sorted(parts, key=lambda part: not part[1].now)

        cut.cut = True
        eventually(lambda: leads.now and not left.now)
        cut.cut, other.cut = False, True
        eventually(lambda: left.now and not leads.now)
