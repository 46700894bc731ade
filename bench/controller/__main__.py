"""What a round costs with nothing to do: `python -m bench.controller [--replicas N ...] [--rounds N] [--json]`.

Each row is a process of its own. `memory`: the stores are in memory, so this is what the controller itself takes.
`http`: the clients of a real cluster, to a server in another process that answers as Nomad and Consul do.
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.controller.world import world
from bench.tables import machine, summary

REPLICAS = (1_000, 10_000)
ROUNDS = 30
GOAL_S, GOAL_MIB = 1.0, 200.0
TIMEOUT_S = 900.0
KINDS = ("first", "idle", "changed")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="bench.controller", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--replicas", type=int, action="append", help="sizes; by default 1000 and 10000")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each kind")
    options = parser.parse_args(arguments)
    rows = [row for count in options.replicas or REPLICAS for row in _rows(count, options.rounds)]
    if options.json:
        print(json.dumps({"machine": machine(), "rows": rows}, indent=2))
    else:
        _show(rows)


def _rows(replicas: int, rounds: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "world"
        saved.write_bytes(pickle.dumps(world(replicas)))
        yield {"replicas": replicas, "stores": "memory", **_measured("memory", str(saved), rounds)}
        with _served(saved) as address:
            yield {"replicas": replicas, "stores": "http", **_measured("http", address, rounds)}


@contextmanager
def _served(saved: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.controller.standin", str(saved)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _measured(kind: str, where: str, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.controller.rounds", kind, where, str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S)
    found = json.loads(done.stdout)
    return {
        **{f"{name}_s": summary([clock for clock, _ in found[name]]) for name in KINDS},
        **{f"{name}_cpu_s": summary([worked for _, worked in found[name]]) for name in KINDS},
        "peak_mib": found["peak"],
        "grown_mib": found["late"] - found["early"],
    }


def _show(rows: Sequence[dict[str, Any]]) -> None:
    print(f"Rounds of the controller ({machine()})")
    columns = f"{'seconds':>22} {'of the processor':>22} {'peak MiB':>9} grown"
    print(f"{'replicas':>8} {'stores':>7} {'round':>14} {columns}")
    names = {"first": "first", "idle": "nothing to do", "changed": "one changed"}
    for row in rows:
        for kind, name in names.items():
            memory = f"{row['peak_mib']:>9.0f} {row['grown_mib']:>5.1f}" if kind == "idle" else ""
            times = f"{_spread(row[f'{kind}_s']):>22} {_spread(row[f'{kind}_cpu_s']):>22}"
            print(f"{row['replicas']:>8} {row['stores']:>7} {name:>14} {times} {memory}".rstrip())
    met = all(row["idle_s"]["median"] <= GOAL_S and row["peak_mib"] <= GOAL_MIB for row in rows)
    print(f"goal: {GOAL_S:g} s with nothing to do (median), {GOAL_MIB:g} MiB: {'met' if met else 'not met'}")


def _spread(found: dict[str, float]) -> str:
    return f"{found['median']:.3f} ({found['min']:.3f}-{found['max']:.3f})"


if __name__ == "__main__":
    main()
