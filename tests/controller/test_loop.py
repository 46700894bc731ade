"""The loop: killed between all its steps, one broken model beside others, refusals, a fleet that cannot be read."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from aivailable.controller.fleetstore import read_fleet, write_fleet
from aivailable.controller.isolating import plan_each
from aivailable.controller.journal import read_decisions
from aivailable.controller.loop import Controller
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.errors import RetryableError, UserError
from aivailable.model.cards import Card
from aivailable.model.fleet import Fleet, ModelSpec, Variant
from aivailable.model.plan import Move, Stop
from aivailable.model.replica import ReplicaState
from aivailable.placement import Planner
from aivailable.placement.judge import Need, No, VramJudge
from aivailable.settings import Settings
from tests.controller.memory import CountedRegistry, Killed, MemoryCluster, Writes
from tests.placement.test_decisions import rack, sized
from tests.placement.world import World
from tests.samples import fleet

SETTINGS = Settings(llamacpp_command="engine", fetch_command="fetch")
BEFORE = fleet(sized("a", 3, replicas=2), sized("gone", 2), sized("small", 1))
AFTER = fleet(
    sized("a", 3, replicas=2, context=512), sized("new", 3, priority=90), sized("small", 1, replicas=2, priority=10)
)
ROUNDS = 20


def begun(state: Path) -> World:
    """The fleet of before runs; that of after is written."""
    world = World(rack(8, 4, 4))
    world.settle(BEFORE)
    registry = EmbeddedRegistry(state)
    state.mkdir(exist_ok=True)
    write_fleet(registry, BEFORE, seen=read_fleet(registry))
    write_fleet(registry, AFTER, seen=read_fleet(registry))
    return world


def rounds(world: World, state: Path, writes: Writes) -> Iterator[None]:
    """A controller that comes to lead and goes on until nothing is left to do."""
    registry = CountedRegistry(state, world, writes)
    controller = Controller(MemoryCluster(world, writes), registry, SETTINGS, clock=lambda: 0.0)
    for _ in range(ROUNDS):
        made = controller.step()
        if not made.actions and all(r.state is ReplicaState.SERVING for r in world.replicas.values()):
            return
        yield
        world.pass_time()
    raise AssertionError("it does not come to rest")


def outcome(world: World) -> dict[str, int]:
    return {name: world.serving(name) for name in sorted({r.model for r in world.replicas.values()})}


def check(world: World) -> None:
    world.snapshot()  # no card holds more than it can
    assert world.serving("a") >= 1


@pytest.mark.timeout(240)
def test_killed_at_any_write_the_next_one_ends_the_work_and_nothing_is_done_twice(tmp_path: Path) -> None:
    undisturbed, writes = begun(tmp_path / "0"), Writes()
    for _ in rounds(undisturbed, tmp_path / "0", writes):
        check(undisturbed)
    wanted = outcome(undisturbed)
    assert wanted == {"a": 2, "new": 1, "small": 2}
    assert writes.count > 8

    for kill_at in range(1, writes.count + 1):
        for before in (True, False):
            state = tmp_path / f"{kill_at}-{before}"
            world = begun(state)
            with suppress(Killed):
                for _ in rounds(world, state, Writes(kill_at, before=before)):
                    check(world)
            check(world)
            for _ in rounds(world, state, Writes()):
                check(world)
            assert outcome(world) == wanted, (kill_at, before)
            jobs = [r.job.rpartition("-")[2] for r in world.replicas.values() if r.model == "a"]
            assert len(set(jobs)) == 1


class Choosy(MemoryCluster):
    """Refuses one model's jobs, for good or for the moment."""

    def __init__(self, world: World, error: UserError | RetryableError) -> None:
        super().__init__(world, Writes())
        self.error, self.asked = error, 0

    def submit(self, job_id: str, text: str, *, index: int | None = None) -> None:
        if job_id.startswith("llm-bad-"):
            self.asked += 1
            raise self.error
        super().submit(job_id, text, index=index)


@pytest.mark.parametrize("error", [UserError("no"), RetryableError("not now")])
def test_a_refused_model_is_asked_for_less_and_less_and_the_others_go_on(
    tmp_path: Path, error: UserError | RetryableError
) -> None:
    world, now = World(rack(8, 8)), 0.0
    registry = CountedRegistry(tmp_path, world, Writes())
    write_fleet(registry, fleet(sized("bad", 2), sized("good", 2)), seen=read_fleet(registry))
    cluster = Choosy(world, error)
    controller = Controller(cluster, registry, SETTINGS, clock=lambda: now)

    for second in range(64):
        now = float(second)
        controller.step()
        world.pass_time()

    assert world.serving("good") == 1
    assert cluster.asked == 7  # at 0, 1, 3, 7, 15, 31 and 63 seconds
    told = [d for d in read_decisions(registry) if d.model == "bad"]
    assert told[0].refused is isinstance(error, UserError)
    now = 64.0
    write_fleet(registry, fleet(sized("bad", 2, context=512), sized("good", 2)), seen=read_fleet(registry))
    controller.step()
    assert cluster.asked == 8  # corrected, it is tried at once


class Breaking(VramJudge):
    """Fails on one model, as an error of ours would."""

    def need(self, model: ModelSpec, variant: Variant, card: Card) -> Need | No:
        if model.name == "bad":
            raise ZeroDivisionError("a formula")
        return super().need(model, variant, card)


def test_a_model_that_cannot_be_planned_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(rack(8, 8))
    world.settle(fleet(sized("bad", 2), sized("good", 2)))
    monkeypatch.setattr("aivailable.placement.planner.VramJudge", Breaking)
    wanted = Fleet(models=(sized("bad", 2, replicas=2), sized("good", 2, replicas=2)))

    planned = plan_each(Planner(), wanted, world.snapshot(), None)

    assert [name for name, _ in planned.broken] == ["bad"]
    assert {p.spec.model for p in planned.plan.placements} == {"good"}
    assert not any(isinstance(a, Stop | Move) for a in planned.plan.actions)
    only = replace(wanted, models=wanted.models[1:])
    assert plan_each(Planner(), only, replace(world.snapshot(), replicas=()), None).broken == ()
