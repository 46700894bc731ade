"""What a leader notes of engines that have come to serve."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from aivailable.controller.measuring import Measurements, Measurer, with_measured
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.errors import RetryableError
from aivailable.model.cards import Card
from aivailable.model.plan import Plan
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.service import MEASURED_PREFIX
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from tests.placement.world import begun
from tests.samples import EIGHT_B, SMALL, card, fleet, model, node

A100 = card("A100", 40960, node="n", compute_capability=8.0)
T4 = card("Tesla T4", 15360, node="n", simulated=True)

VLLM = (
    "Model loading took 15.3 GiB and 3.4 seconds",
    "Available KV cache memory: 9.0 GiB",
    "Graph capturing finished in 21 secs, took 0.3 GiB",
)
LLAMACPP = (
    "load_tensors:   CPU_Mapped model buffer size =    92.10 MiB",
    "llama_kv_cache:        CPU KV buffer size =    45.00 MiB",
    "sched_reserve:        CPU compute buffer size =    15.64 MiB",
)


class Logs(EmbeddedCluster):
    """An embedded cluster whose engines printed these lines."""

    def __init__(self, state: Path, *lines: str) -> None:
        super().__init__(state)
        self.lines = lines
        self.asked = 0
        self.answers = True

    def logs(self, job_id: str, *, tail_lines: int, follow: bool = False) -> Iterator[str]:
        """The lines, or no answer."""
        del job_id, tail_lines, follow
        self.asked += 1
        if not self.answers:
            raise RetryableError("no answer")
        return iter(self.lines)


def serving(on: Card, profile: object = EIGHT_B) -> tuple[Snapshot, Plan]:
    """One replica that serves on this card, and the plan that keeps it."""
    wanted = fleet(model("m", profile, context=8192, concurrency=8))  # type: ignore[arg-type] # a profile
    first = plan(wanted, Snapshot(nodes=(node("n", on),)))
    (placement,) = first.placements
    replica = begun(placement, ReplicaState.SERVING)
    taken = replace(on, free_slices=on.slices - placement.slices[0])
    return Snapshot(nodes=(node("n", taken),), replicas=(replica,)), first


def look(
    tmp_path: Path, cluster: Logs, snapshot: Snapshot, made: Plan, **in_use: int
) -> tuple[tuple[Replica, int], ...]:
    measurer = Measurer(cluster, EmbeddedRegistry(tmp_path), lambda: 7.0, lambda: in_use)
    found = measurer.look(snapshot, made)
    asked = cluster.asked
    assert measurer.look(snapshot, made) == ()
    assert cluster.asked == asked
    return found


def test_terms_of_the_log_and_what_the_driver_says(tmp_path: Path) -> None:
    snapshot, made = serving(A100)

    assert look(tmp_path, Logs(tmp_path, *VLLM), snapshot, made, **{A100.uuid: 26_000}) == ()
    (found,) = Measurements(EmbeddedRegistry(tmp_path)).read()
    assert (found.weights_mib, found.kv_mib, found.graphs_mib, found.held_mib) == (15_667, 9216, 307, 26_000)
    assert (found.alloc, found.at_s) == (snapshot.replicas[0].alloc, 7.0)
    assert found.conditions.card == "A100"
    merged = replace(snapshot, replicas=(with_measured(snapshot.replicas[0], found.total_mib),), measured=(found,))
    assert merged.replicas[0].measured_mib == 26_000
    assert plan(fleet(model("m", EIGHT_B, context=8192, concurrency=8)), merged).actions == ()


def test_one_that_holds_more_than_it_booked_is_told(tmp_path: Path) -> None:
    snapshot, made = serving(A100)

    ((replica, held_mib),) = look(tmp_path, Logs(tmp_path, *VLLM), snapshot, made, **{A100.uuid: 39_000})
    assert (replica.model, held_mib) == ("m", 39_000)


def test_a_card_that_is_shared_says_nothing_of_one_replica(tmp_path: Path) -> None:
    snapshot, made = serving(A100)
    neighbour = replace(snapshot.replicas[0], job="other", alloc="other", model="other")

    look(tmp_path, Logs(tmp_path, *VLLM), replace(snapshot, replicas=(*snapshot.replicas, neighbour)), made)
    (found,) = Measurements(EmbeddedRegistry(tmp_path)).read()
    assert found.held_mib is None


def test_host_buffers_count_on_simulated_cards_only(tmp_path: Path) -> None:
    real = replace(T4, simulated=False)
    for name, on, expected in (("simulated", T4, 1), ("real", real, 0)):
        state = tmp_path / name
        state.mkdir()
        snapshot, made = serving(on, SMALL)
        look(state, Logs(state, *LLAMACPP), snapshot, made)
        assert len(Measurements(EmbeddedRegistry(state)).read()) == expected


def test_what_is_not_serving_or_says_nothing_is_left(tmp_path: Path) -> None:
    snapshot, made = serving(A100)
    loading = replace(snapshot, replicas=(replace(snapshot.replicas[0], state=ReplicaState.LOADING),))
    silent, mute = Logs(tmp_path, "hello"), Logs(tmp_path)
    mute.answers = False

    look(tmp_path, Logs(tmp_path, *VLLM), loading, made)
    look(tmp_path, silent, snapshot, made)
    look(tmp_path, mute, snapshot, made)
    assert Measurements(EmbeddedRegistry(tmp_path)).read() == ()


def test_a_broken_document_is_written_anew(tmp_path: Path) -> None:
    snapshot, made = serving(A100)
    (placement,) = made.placements
    assert placement.spec.variant.resolved is not None
    key = f"{MEASURED_PREFIX}{placement.spec.variant.resolved.sha256}"
    EmbeddedRegistry(tmp_path).put(key, b"{")

    look(tmp_path, Logs(tmp_path, *VLLM), snapshot, made)
    assert len(Measurements(EmbeddedRegistry(tmp_path)).read()) == 1
