"""Versions that do not start: given up for another variant, for the version before, or for a while."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aivailable.controller.verdicts import REST_S, Verdicts, failing, read_failures, with_failures
from aivailable.documents import dump_fleet, load_fleet
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.model.failure import Failure
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.replica import Replica, ReplicaState, hash_of
from aivailable.model.service import FAILED_KEY
from aivailable.model.snapshot import Snapshot
from aivailable.placement import given_up, in_force, plan, succeed
from tests.placement.test_decisions import gguf, rack, sized
from tests.placement.world import World
from tests.samples import fleet, variant

LOADING, SERVING, PENDING = ReplicaState.LOADING, ReplicaState.SERVING, ReplicaState.PENDING


class Controlled:
    """A world with a leader's verdicts; `bad` tells the replicas whose engine never starts."""

    def __init__(self, state: Path, world: World, bad: Callable[[Replica], bool]) -> None:
        self.world, self.bad = world, bad
        self.registry = EmbeddedRegistry(state)
        self.now_s = 1000.0
        self.verdicts = Verdicts(EmbeddedCluster(state), self.registry, lambda: self.now_s)

    def snapshot(self) -> Snapshot:
        return replace(self.world.snapshot(), failed=read_failures(self.registry, lambda: self.now_s))

    def round(self, wanted: Fleet) -> None:
        """One step of the controller, then what loads serves, or fails on a second card."""
        snapshot = self.snapshot()
        snapshot = with_failures(snapshot, self.verdicts.look(wanted, snapshot))
        for action in plan(wanted, snapshot).actions:
            self.world.carry_out(action)
        starting = [r for r in self.world.replicas.values() if r.state is LOADING and self.bad(r)]
        for replica in starting:
            gone = replace(replica, state=PENDING, failures=2, cards=(), claim_mib=(), node="", note="exited with 1")
            self.world.replicas[replica.job] = gone
        self.world.pass_time()

    def rounds(self, wanted: Fleet, count: int = 12) -> None:
        for _ in range(count):
            self.round(wanted)


def flagged(spec: ModelSpec, *flags: str) -> ModelSpec:
    return replace(spec, variants=tuple(replace(v, flags=flags) for v in spec.variants))


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Controlled]:
    def made(world: World, bad: Callable[[Replica], bool]) -> Controlled:
        return Controlled(tmp_path, world, bad)

    return made


@pytest.mark.parametrize("size", [8, 4], ids=["room for both", "no room for both"])
def test_a_bad_version_goes_back_to_the_one_before_and_enough_serve_all_along(
    begin: Callable[..., Controlled], size: int
) -> None:
    before = fleet(sized("a", 3, replicas=2))
    world = World(rack(size, size))
    world.settle(before)
    good = set(world.replicas)
    after = succeed(fleet(flagged(before.models[0], "--bad")), before, ())
    assert [m.name for m in after.previous] == ["a"]
    assert load_fleet(dump_fleet(after), where="") == after
    bad = {p.spec.hash8 for p in plan(fleet(after.models[0]), rack(size, size)).placements}
    running = begin(world, lambda r: hash_of(r.job) in bad)
    for _ in range(14):
        running.round(after)
        assert world.serving("a") >= 1

    assert world.serving("a") == 2
    assert {hash_of(r.job) for r in world.replicas.values()} == {hash_of(job) for job in good}
    (failure,) = running.snapshot().failed
    assert (failure.model, failure.reason) == ("a", "exited with 1")
    assert plan(after, running.snapshot()).actions == ()
    # Another model's deploy leaves that alone; asked to, it is tried again under another name.
    more = succeed(fleet(*after.models, sized("b", 0.2)), after, running.snapshot().failed)
    placed = {(p.spec.model, p.spec.hash8 in bad) for p in plan(more, running.snapshot()).placements}
    assert placed == {("a", False), ("b", False)}
    again = succeed(fleet(*after.models), after, running.snapshot().failed, retry=True)
    assert again.models[0].attempt == 1
    assert plan(again, running.snapshot()).actions != ()
    assert [m.name for m in again.previous] == ["a"]


def test_another_variant_is_taken_before_the_version_before(begin: Callable[..., Controlled]) -> None:
    two = (variant(gguf(3), "/m/good.gguf"), variant(gguf(2), "/m/small.gguf"))
    wanted = fleet(replace(sized("a", 3, replicas=2), variants=two))
    running = begin(World(rack(8, 8)), lambda r: r.variant == "/m/good.gguf")

    running.rounds(wanted)

    assert {r.variant for r in running.world.replicas.values()} == {"/m/small.gguf"}
    assert running.world.serving("a") == 2
    assert given_up(wanted, running.snapshot().failed) == {}


def test_with_nothing_else_it_rests_longer_each_time_and_the_reason_is_told(begin: Callable[..., Controlled]) -> None:
    wanted = fleet(sized("a", 3), sized("b", 3))
    running = begin(World(rack(8)), lambda r: r.model == "a")
    running.rounds(wanted, 4)

    assert {r.model for r in running.world.replicas.values()} == {"b"}
    (missing,) = plan(wanted, running.snapshot()).unplaced
    assert (missing.reasons[0].rule, missing.reasons[0].text) == ("failed", "/models/m.gguf: exited with 1")
    assert missing.would_help == ("`aivailable deploy … --retry`",)
    for count in (2, 3):
        running.now_s += REST_S * 2 ** (count - 2) + 1
        assert plan(wanted, running.snapshot()).actions != ()
        running.rounds(wanted, 4)
        (failure,) = running.snapshot().failed
        assert (failure.count, failure.until_s - failure.at_s) == (count, REST_S * 2 ** (count - 1))
    running.bad = lambda _: False
    running.now_s += 10 * REST_S
    running.rounds(wanted, 4)
    assert running.world.serving("a") == 1


def test_what_serves_elsewhere_is_not_given_up_for_one_bad_card() -> None:
    world = World(rack(8, 8))
    world.settle(fleet(sized("a", 3, replicas=2)))
    first, second = world.replicas.values()
    crashing = replace(second, state=PENDING, failures=5, cards=(), claim_mib=(), note="exited with 1")
    hanging = replace(second, state=LOADING, forsaken="it does not serve after 1800 s")

    assert list(failing(Snapshot(replicas=(first, crashing)))) == []
    assert list(failing(Snapshot(replicas=(crashing,)))) == [(crashing, "exited with 1")]
    assert list(failing(Snapshot(replicas=(first, hanging)))) == []
    assert list(failing(Snapshot(replicas=(hanging,)))) == [(hanging, "it does not serve after 1800 s")]
    assert list(failing(Snapshot(replicas=(replace(crashing, failures=1),)))) == []


def test_what_the_fleet_knows_no_more_is_forgotten(begin: Callable[..., Controlled]) -> None:
    wanted = fleet(sized("a", 3))
    running = begin(World(rack(8)), lambda _: True)
    running.rounds(wanted, 4)
    assert len(running.snapshot().failed) == 1

    running.rounds(fleet(), 2)
    assert running.snapshot().failed == ()


def test_a_broken_document_counts_as_none(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    registry.put(FAILED_KEY, b"{")

    assert read_failures(registry) == ()


def test_the_version_in_force_keeps_the_numbers_of_the_one_deployed() -> None:
    before = fleet(sized("a", 3, replicas=2, priority=10))
    after = succeed(fleet(flagged(sized("a", 3, replicas=3, priority=90), "--bad")), before, ())
    world = World(rack(8, 8, 8))
    bad = {p.spec.hash8 for p in plan(fleet(after.models[0]), world.snapshot()).placements}
    failed = tuple(Failure(model="a", variant="v", hash8=h, reason="r", at_s=0, until_s=1) for h in bad)
    (spec,) = in_force(after, failed).models
    assert (spec.replicas, spec.priority, spec.variants) == (3, 90, before.models[0].variants)
    # A third version: what it can go back to is what runs, not what was given up.
    third = succeed(fleet(flagged(sized("a", 3, replicas=3), "--third")), after, failed)
    assert third.previous[0].variants == before.models[0].variants
