"""`python -m bench`: every benchmark, one after the other."""

import sys

from bench import startup
from bench.placement.__main__ import main as placement

BENCHMARKS = {"startup": startup.main, "placement": placement}

if __name__ == "__main__":
    for name, run in BENCHMARKS.items():
        print(f"== {name}")
        run(sys.argv[1:])
