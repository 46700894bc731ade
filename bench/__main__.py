"""`python -m bench`: every benchmark, one after the other."""

import sys

from bench import startup
from bench.availability.__main__ import main as availability
from bench.controller.__main__ import main as controller
from bench.gateway.__main__ import main as gateway
from bench.placement.__main__ import main as placement
from bench.vram_accuracy.__main__ import main as vram_accuracy

BENCHMARKS = {
    "startup": startup.main,
    "placement": placement,
    "controller": controller,
    "vram_accuracy": vram_accuracy,
    "gateway": gateway,
    "availability": availability,
}

if __name__ == "__main__":
    for name, run in BENCHMARKS.items():
        print(f"== {name}")
        run(sys.argv[1:])
