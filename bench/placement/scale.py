"""How long a plan takes: everything at once, one change of a running cluster, and how both grow with the cluster."""

import gc
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from aivailable.model.fleet import Fleet
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement.planner import Planner
from bench.placement.openb import Ask, AskJudge, fleet_of, model_of, read_asks, read_nodes
from bench.placement.worlds import after
from bench.tables import machine

GROWTH_NODES = (100, 1_000, 10_000)
COLD_RUNS = 5
CHANGES = 9


def measure(nodes: Path, asks: Path) -> dict[str, object]:
    """The figures, each in a process of its own so that memory is its own."""
    whole = _measured(nodes, asks, 0)
    growth = [_measured(nodes, asks, count) for count in GROWTH_NODES]
    return {**whole, "growth": growth}


def show(found: dict[str, object], *, source: str) -> None:
    """The table."""
    print(f"Scale: {source} ({machine()})")
    print(f"{'nodes':>7} {'cards':>7} {'asks':>7} {'placed':>7} {'cold s':>22} {'one change ms':>24} {'MiB':>5}")
    growth = found["growth"]
    for row in [found, *(growth if isinstance(growth, list) else ())]:
        cold = f"{row['cold_s']:.3f} ({row['cold_min_s']:.3f}-{row['cold_max_s']:.3f})"
        change = f"{row['change_s'] * 1e3:.1f} ({row['change_min_s'] * 1e3:.1f}-{row['change_max_s'] * 1e3:.1f})"
        print(
            f"{row['nodes']:>7} {row['cards']:>7} {row['asks']:>7} {row['placed']:>7} {cold:>22} {change:>24}"
            f" {row['rss_mib']:>5.0f}"
        )


def _measured(nodes: Path, asks: Path, count: int) -> dict[str, object]:
    command = [sys.executable, "-m", "bench.placement.scale", str(nodes), str(asks), str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800)
    figures: dict[str, object] = json.loads(done.stdout)
    return figures


def _main(nodes: Path, asks_file: Path, count: int) -> dict[str, float]:
    snapshot, asks = _sized(read_nodes(nodes), read_asks(asks_file), count)
    fleet = fleet_of(asks)
    cold, placed, planner = [], 0, Planner(AskJudge())
    for _ in range(COLD_RUNS if count <= 2_000 else 1):
        planner = Planner(AskJudge())
        gc.collect()
        begin = time.perf_counter()
        made = planner.plan(fleet, snapshot)
        cold.append(time.perf_counter() - begin)
        placed = len(made.placements)
    changes = _changes(planner, fleet, after(planner.plan(fleet, snapshot), snapshot))
    return {
        "nodes": len(snapshot.nodes),
        "cards": sum(len(node.cards) for node in snapshot.nodes),
        "asks": len(asks),
        "placed": placed,
        "cold_s": median(cold),
        "cold_min_s": min(cold),
        "cold_max_s": max(cold),
        "change_s": median(changes),
        "change_min_s": min(changes),
        "change_max_s": max(changes),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _changes(planner: Planner, fleet: Fleet, running: Snapshot) -> list[float]:
    """Seconds for one change each, of a cluster that was planned for before: an ask more, an ask less, a node lost."""
    placed = {replica.model for replica in running.replicas}
    fleet = Fleet(models=tuple(m for m in fleet.models if m.name in placed))
    planner.plan(fleet, running)
    seconds = []
    for number in range(CHANGES):
        changed, snapshot = fleet, running
        if number % 3 == 0:
            ask = Ask(name=f"new-{number}", cards=1, milli=250, allowed=frozenset(), created_s=0, deleted_s=None)
            changed = Fleet(models=(*fleet.models, model_of(ask)))
        elif number % 3 == 1:
            position = number * len(fleet.models) // CHANGES
            changed = Fleet(models=fleet.models[:position] + fleet.models[position + 1 :])
        else:
            snapshot = _without_node(running, number * len(running.nodes) // CHANGES)
        gc.collect()
        begin = time.perf_counter()
        planner.plan(changed, snapshot)
        seconds.append(time.perf_counter() - begin)
        planner.plan(fleet, running)
    return seconds


def _without_node(snapshot: Snapshot, position: int) -> Snapshot:
    node = snapshot.nodes[position]
    nodes = (*snapshot.nodes[:position], replace(node, ready=False), *snapshot.nodes[position + 1 :])
    replicas = tuple(replace(r, state=ReplicaState.LOST) if r.node == node.name else r for r in snapshot.replicas)
    return Snapshot(nodes=nodes, replicas=replicas)


def _sized(snapshot: Snapshot, asks: list[Ask], count: int) -> tuple[Snapshot, list[Ask]]:
    """A cluster of `count` nodes (0: as it is) of the same mixture, with asks in proportion."""
    if not count:
        return snapshot, asks
    total = len(snapshot.nodes)
    nodes = []
    for number in range(count):
        # Every size takes its nodes evenly from the whole list, several times where it is larger.
        node = snapshot.nodes[(number * total // count) % total if count < total else number % total]
        name = f"{node.name}-{number}"
        cards = tuple(replace(card, uuid=f"{name}-{card.index}") for card in node.cards)
        nodes.append(replace(node, id=name, name=name, cards=cards))
    wanted = len(asks) * count // total
    chosen = [asks[(n * len(asks) // wanted) if wanted < len(asks) else n % len(asks)] for n in range(wanted)]
    return Snapshot(nodes=tuple(nodes)), [replace(ask, name=f"{ask.name}-{n}") for n, ask in enumerate(chosen)]


if __name__ == "__main__":
    print(json.dumps(_main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
