"""`python -m bench`: every benchmark, one after the other."""

import sys

from bench import startup

BENCHMARKS = {"startup": startup.main}

if __name__ == "__main__":
    for name, run in BENCHMARKS.items():
        print(f"== {name}")
        run(sys.argv[1:])
