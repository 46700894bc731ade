"""`python -m aivailable.engines.vllm_cpu --python PYTHON MODEL FLAGS…`: vLLM's CPU build on a simulated card.

MODEL and FLAGS are those of `vllm serve`, as planned. What the CPU build needs beside them is added in front, where the
planned ones win; then this process becomes vLLM's: signals and the exit code are its own. `vllm serve` itself does not
start in the distribution `vllm-cpu` (it looks for the version of one named `vllm`), so its API server is started.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from aivailable.errors import AivailableError, UserError

API_SERVER = "vllm.entrypoints.openai.api_server"

ADDED_FLAGS = ("--enforce-eager", "--block-size", "32")
"""A CPU has no graphs to capture, and compiling would want a C++ compiler and minutes. The KV cache is planned in the
16-token blocks of cards; the CPU build starts with no less than 32 and takes 128 by itself (seen with 0.32)."""

ADDED_VARIABLES = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
"""One thread, on whatever core: by itself it takes all cores but one, and a second replica would take the same."""

WINS_OVER_FLAGS = ("VLLM_CPU_KVCACHE_SPACE",)
"""Variables that vLLM prefers to the planned flags: this one to `--kv-cache-memory-bytes` (seen with 0.32)."""

HINT = "AIVAILABLE_VLLM_CPU_PYTHON names the Python that vllm-cpu is installed in; `make .vllm` makes one"

_INSTALLED = """
from importlib.metadata import distributions
print(*(f"{each.name}=={each.version}" for each in distributions() if each.name in ("vllm", "vllm-cpu")))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Become vLLM's API server; gives an exit code where that is not possible."""
    options = _parser().parse_args(arguments)
    try:
        _require_cpu_build(options.python)
        print("simulated card: vLLM runs on the CPU with one thread", file=sys.stderr, flush=True)
        _become(options.python, options.model, options.flags)
    except AivailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _become(python: Path, model: str, flags: Sequence[str]) -> NoReturn:
    words = [str(python), "-m", API_SERVER, *ADDED_FLAGS, "--model", model, *flags]
    os.execve(python, words, _environment(os.environ))  # noqa: S606 - no shell is wanted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aivailable.engines.vllm_cpu", description=__doc__, allow_abbrev=False)
    parser.add_argument("--python", required=True, type=Path, help="Python of the environment that vllm-cpu is in")
    parser.add_argument("model", help="folder of the model")
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="flags of `vllm serve`")
    return parser


def _require_cpu_build(python: Path) -> None:
    """See that a CPU build is there: vLLM for a GPU would look for one, or take one that is not the simulated card.

    Raises:
        UserError: That is no Python, or it has no such vLLM.
    """
    try:
        asked = subprocess.run([python, "-c", _INSTALLED], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{python}: {error}", hint=HINT) from error
    if asked.returncode:
        raise UserError(f"{python}: {asked.stderr.strip() or 'this is no Python'}", hint=HINT)
    found = asked.stdout.split()
    if not any(each.startswith("vllm-cpu==") or each.endswith("+cpu") for each in found):
        raise UserError(f"{python} has {', '.join(found) or 'no vLLM'}, and not the build for CPUs", hint=HINT)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if name not in WINS_OVER_FLAGS}
    return {**kept, **ADDED_VARIABLES}


if __name__ == "__main__":
    sys.exit(main())
