"""The measured process: a controller goes its rounds, and says as JSON how long each took and what memory it had."""

import json
import pickle
import resource
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx2

from aivailable.clients.consul import ConsulRegistry
from aivailable.clients.nomad import NomadCluster
from aivailable.clients.nomad_api import NomadApi
from aivailable.controller.loop import Controller
from aivailable.controller.metrics import Metrics
from aivailable.model.service import ENGINE_SERVICE, FLEET_KEY
from aivailable.seams import Cluster, Registry
from aivailable.settings import ConsulSettings, NomadSettings, Settings
from aivailable.watching import Changed, watching
from bench.controller.memory import MemoryCluster, MemoryRegistry

SETTLE_S = 1.5
"""Time for the watches, which ask again every second, to have begun before later rounds are timed."""


def measure(cluster: Cluster, registry: Registry, touch: Callable[[], object], rounds: int) -> dict[str, object]:
    """The first round, 2 x `rounds` with nothing to do, and between them `rounds` after a change each.

    MiB, and seconds twice: by the clock, and of the processor in all threads.
    """
    controller = Controller(cluster, registry, Settings(), watcher=Metrics(dict))
    stop = threading.Event()
    sources: dict[str, Changed] = {
        "cluster": cluster.changed,
        "fleet": partial(registry.key_changed, FLEET_KEY),
        "health": partial(registry.services_changed, ENGINE_SERVICE),
    }
    with watching(sources, stop):
        first = _seconds(controller)
        time.sleep(SETTLE_S)
        idle = [_seconds(controller) for _ in range(rounds)]
        early_mib = _rss_mib()
        changed = []
        for _ in range(rounds):
            touch()
            changed.append(_seconds(controller))
        idle += [_seconds(controller) for _ in range(rounds)]
        late_mib = _rss_mib()
        stop.set()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": [first], "idle": idle, "changed": changed, "peak": peak_mib, "early": early_mib, "late": late_mib}


def _seconds(controller: Controller) -> tuple[float, float]:
    begun, worked = time.perf_counter(), time.process_time()
    made = controller.step()
    took = (time.perf_counter() - begun, time.process_time() - worked)
    if made.actions or made.unplaced:
        raise AssertionError(f"there was something to do: {made.actions[:3]} {made.unplaced[:3]}")
    return took


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024 / 1024


def _in_memory(saved: str, rounds: int) -> dict[str, object]:
    fleet, snapshot = pickle.loads(Path(saved).read_bytes())  # noqa: S301 - written by this benchmark
    cluster = MemoryCluster(snapshot)
    return measure(cluster, MemoryRegistry(fleet, snapshot), cluster.touch, rounds)


def _by_http(address: str, rounds: int) -> dict[str, object]:
    api = NomadApi(NomadSettings(address=address))
    registry = ConsulRegistry(ConsulSettings(address=address))
    try:
        return measure(NomadCluster(api), registry, partial(_touch, address), rounds)
    finally:
        api.close()
        registry.close()


def _touch(address: str) -> None:
    httpx2.put(f"{address}/bench/touch", trust_env=False).raise_for_status()


if __name__ == "__main__":
    kind, where, count = sys.argv[1:]
    print(json.dumps((_in_memory if kind == "memory" else _by_http)(where, int(count))))
