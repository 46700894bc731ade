"""What Prometheus may read of a controller and of the cards."""

import collections
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from aivailable.controller.loop import Step
from aivailable.errors import AivailableError
from aivailable.model.plan import Action, Move, Start
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot

MIB = 1024 * 1024
PLAN_BUCKETS_S = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60)
REALLOCATION_BUCKETS_S = (1, 2, 5, 10, 20, 40, 80, 160, 320, 640)


class Metrics:
    """Counts what a controller does and shows what it saw last. A leader's figures are the cluster's.

    They stand in `registry`, which the page's server shows at `/metrics`.
    """

    def __init__(self, cards_in_use: Callable[[], Mapping[str, int]], *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.registry = CollectorRegistry()
        self._seen = _Seen(cards_in_use)
        self.registry.register(self._seen)
        self._leading = Gauge("aivailable_leading", "1 where this controller leads", registry=self.registry)
        self._last_round = Gauge(
            "aivailable_last_round_timestamp_seconds",
            "When this controller's last round as leader ended well, in seconds since 1970; 0: it had none",
            registry=self.registry,
        )
        self._plan_s = Histogram(
            "aivailable_plan_seconds", "Time to plan", buckets=PLAN_BUCKETS_S, registry=self.registry
        )
        self._actions = Counter(
            "aivailable_actions", "Actions carried out", ("kind", "outcome"), registry=self.registry
        )
        self._wanted = Gauge(
            "aivailable_replicas_wanted", "Replicas that the fleet asks for", ("model",), registry=self.registry
        )
        self._serving = Gauge("aivailable_replicas_serving", "Replicas that serve", ("model",), registry=self.registry)
        self._unplaced = Gauge(
            "aivailable_replicas_unplaced", "Replicas that found no place", ("model",), registry=self.registry
        )
        self._reallocation_s = Histogram(
            "aivailable_reallocation_seconds",
            "Time from the loss of a serving replica to the next one serving",
            ("model",),
            buckets=REALLOCATION_BUCKETS_S,
            registry=self.registry,
        )
        self._losses = _Losses()
        self._shown: set[str] = set()

    def leads(self, *, leading: bool) -> None:
        """This controller leads now, or leads no longer; who does not lead shows no replicas."""
        self._leading.set(1 if leading else 0)
        for gauge in self._by_model():
            gauge.clear()
        self._losses = _Losses()
        self._shown = set()
        self._seen.snapshot = Snapshot()

    def stepped(self, step: Step) -> None:
        """Count one round."""
        self._plan_s.observe(step.plan_s)
        for outcome in step.outcomes:
            self._actions.labels(_kind(outcome.action), "failed" if outcome.error else "done").inc()
        self._seen.snapshot = step.snapshot
        unplaced: collections.Counter[str] = collections.Counter()
        for found in step.plan.unplaced:
            unplaced[found.model] += found.count
        wanted = unplaced + collections.Counter(placement.spec.model for placement in step.plan.placements)
        serving = _serving(step.snapshot)
        for model in self._shown - wanted.keys():
            for gauge in self._by_model():
                gauge.remove(model)
        self._shown = set(wanted)
        for model, count in wanted.items():
            for gauge, value in zip(self._by_model(), (count, serving[model], unplaced[model]), strict=True):
                gauge.labels(model).set(value)
        for model, seconds in self._losses.look(serving, wanted, step.at_s):
            self._reallocation_s.labels(model).observe(seconds)
        self._last_round.set(self._now())

    def _by_model(self) -> tuple[Gauge, Gauge, Gauge]:
        return self._wanted, self._serving, self._unplaced


class _Losses:
    """Since when each model serves with fewer replicas than before."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._lost_at_s: dict[str, list[float]] = {}

    def look(self, replicas: Mapping[str, int], wanted: Mapping[str, int], now_s: float) -> Iterator[tuple[str, float]]:
        """The losses that were made good by this look, of the replicas that serve by model: model, seconds."""
        self._before = {model: count for model, count in self._before.items() if model in wanted}
        self._lost_at_s = {model: losses for model, losses in self._lost_at_s.items() if model in wanted}
        for model, count in wanted.items():
            serving = min(count, replicas.get(model, 0))
            before = min(count, self._before.get(model, 0))
            open_losses = self._lost_at_s.setdefault(model, [])
            open_losses += [now_s] * max(0, before - serving)
            for _ in range(min(len(open_losses), max(0, serving - before))):
                yield model, now_s - open_losses.pop(0)
            self._before[model] = serving


class _Seen(Collector):
    """Cards and replicas as the last round saw them; what is in use is asked when somebody reads."""

    def __init__(self, cards_in_use: Callable[[], Mapping[str, int]]) -> None:
        self._cards_in_use = cards_in_use
        self.snapshot = Snapshot()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """All of it, for one reading."""
        return (*self._cards(), *_replicas(self.snapshot))

    def _cards(self) -> Iterable[GaugeMetricFamily]:
        labels = ("node", "card", "name")
        total = GaugeMetricFamily("aivailable_vram_total_bytes", "Memory of the card", labels=labels)
        claimed = GaugeMetricFamily("aivailable_vram_claimed_bytes", "Memory booked by allocations", labels=labels)
        used = GaugeMetricFamily("aivailable_vram_used_bytes", "Memory in use as the driver says", labels=labels)
        foreign = GaugeMetricFamily(
            "aivailable_vram_foreign_bytes", "The part of it that no allocation accounts for", labels=labels
        )
        healthy = GaugeMetricFamily("aivailable_card_healthy", "1 where the card is healthy", labels=labels)
        try:
            in_use = self._cards_in_use() if self.snapshot.nodes else {}
        except AivailableError:  # an agent that does not answer must not hide the other figures
            in_use = {}
        for node in self.snapshot.nodes:
            for card in node.cards:
                values = (node.name, card.uuid, card.name)
                total.add_metric(values, card.total_mib * MIB)
                claimed.add_metric(values, (card.slices - card.free_slices) * card.slice_mib * MIB)
                foreign.add_metric(values, card.foreign_mib * MIB)
                healthy.add_metric(values, 1 if card.healthy and node.ready else 0)
                if card.uuid in in_use:
                    used.add_metric(values, in_use[card.uuid] * MIB)
        return (total, claimed, used, foreign, healthy)


def _replicas(snapshot: Snapshot) -> Iterable[GaugeMetricFamily]:
    """Replicas by state, and what each holds of its cards."""
    states = GaugeMetricFamily("aivailable_replicas", "Replicas by state", labels=("model", "state"))
    found = collections.Counter((r.model, r.state) for r in snapshot.replicas)
    for model in sorted({replica.model for replica in snapshot.replicas}):
        for state in ReplicaState:
            states.add_metric((model, state.value), found[model, state])
    # Two may have one number while one replaces the other; their jobs differ.
    labels = ("model", "replica", "nomad_job", "node", "card")
    claimed = GaugeMetricFamily("aivailable_replica_claimed_bytes", "What a replica booked of a card", labels=labels)
    measured = GaugeMetricFamily(
        "aivailable_replica_measured_bytes", "What a replica was seen to hold of each of its cards", labels=labels
    )
    for replica in snapshot.replicas:
        for card, claim_mib in zip(replica.cards, replica.claim_mib, strict=False):
            values = (replica.model, str(replica.replica), replica.job, replica.node, card)
            claimed.add_metric(values, claim_mib * MIB)
            if replica.measured_mib is not None:
                measured.add_metric(values, replica.measured_mib * MIB)
    return (states, claimed, measured)


def _serving(snapshot: Snapshot) -> collections.Counter[str]:
    """Replicas that serve, by model."""
    return collections.Counter(r.model for r in snapshot.replicas if r.state is ReplicaState.SERVING)


def _kind(action: Action) -> str:
    if isinstance(action, Move):
        return "move"
    return "start" if isinstance(action, Start) else "stop"
