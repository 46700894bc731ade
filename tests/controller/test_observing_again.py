"""A controller that looks again sees every change, and gets the same objects for what did not change."""

from dataclasses import replace
from pathlib import Path

from aivailable.controller.fleetstore import FleetReader, read_fleet, write_fleet
from aivailable.controller.loop import Controller
from aivailable.controller.observe import Observer
from aivailable.documents import dump_measurements
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.model.replica import ReplicaState
from aivailable.model.service import CACHE_PREFIX, LEAVING_PREFIX, MEASURED_PREFIX
from aivailable.model.snapshot import Snapshot
from aivailable.settings import Settings
from bench.controller.memory import MemoryCluster, MemoryRegistry
from bench.controller.world import instances, measurements, sha256_of, world
from tests.samples import fleet, model


class Seen(EmbeddedCluster):
    """A cluster that shows what it is told to."""

    def __init__(self, state: Path, shown: Snapshot) -> None:
        super().__init__(state)
        self.shown = shown

    def snapshot(self) -> Snapshot:
        return self.shown


class Registered(EmbeddedRegistry):
    """A registry with instances that it is told of."""

    def __init__(self, state: Path, shown: Snapshot) -> None:
        super().__init__(state)
        self.shown = instances(shown)

    def instances(self, service: str) -> tuple[object, ...]:  # type: ignore[override] # Instances
        del service
        return self.shown


def test_each_change_is_seen_and_touches_nothing_else(tmp_path: Path) -> None:
    wanted, shown = world(20)
    cluster, registry = Seen(tmp_path, shown), Registered(tmp_path, shown)
    observer = Observer(cluster, registry)  # type: ignore[arg-type] # Registered
    first, name = shown.replicas[0], shown.replicas[0].node
    before = observer.look()
    assert observer.look() is before
    assert before.replicas[0].address

    registry.shown = (replace(registry.shown[0], passing=False), *registry.shown[1:])
    sick = observer.look()
    assert sick.replicas[0].state is ReplicaState.UNHEALTHY
    assert sick.replicas[1:] == before.replicas[1:]
    assert all(a is b for a, b in zip(sick.replicas[1:], before.replicas[1:], strict=True))
    assert all(a is b for a, b in zip(sick.nodes, before.nodes, strict=True))

    registry.put(f"{LEAVING_PREFIX}{name}", b"")
    registry.put(f"{CACHE_PREFIX}{name}/abc", b"")
    left = observer.look()
    assert [(n.name, n.cached) for n in left.nodes if n.leaving] == [(name, ("abc",))]
    assert all(a is b for a, b in zip(left.nodes, before.nodes, strict=True) if a.name != name)
    assert all(a is b for a, b in zip(left.replicas, sick.replicas, strict=True))

    (held,) = measurements(wanted, shown).values()
    registry.put(f"{MEASURED_PREFIX}{sha256_of(wanted.models[0])}", dump_measurements(held[:1]))
    measured = observer.look()
    assert [r.alloc for r in measured.replicas if r.measured_mib] == [held[0].alloc]
    assert measured.measured == held[:1]

    cluster.shown = replace(shown, replicas=(replace(first, state=ReplicaState.LOST), *shown.replicas[1:-1]))
    lost = observer.look()
    assert (len(lost.replicas), lost.replicas[0].state) == (19, ReplicaState.LOST)
    assert all(a is b for a, b in zip(lost.replicas[1:], measured.replicas[1:-1], strict=True))


def test_the_fleet_is_parsed_again_only_when_it_was_written(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path)
    reader = FleetReader(registry)
    assert reader.read().index == 0
    write_fleet(registry, fleet(model("a")), seen=reader.read())
    read = reader.read()
    assert reader.read() is read

    write_fleet(registry, fleet(model("b")), seen=read)

    assert [m.name for m in reader.read().fleet.models] == ["b"]
    assert reader.read() == read_fleet(registry)


def test_a_round_with_nothing_to_do_makes_no_replica_anew() -> None:
    wanted, shown = world(20)
    controller = Controller(MemoryCluster(shown), MemoryRegistry(wanted, shown), Settings())

    first, second = controller.step(), controller.step()

    assert (second.actions, second.unplaced, len(second.placements)) == ((), (), 20)
    assert all(a is b for a, b in zip(first.placements, second.placements, strict=True))
