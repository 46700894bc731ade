"""Runner of vLLM's CPU build: what it starts, and what it says where there is none; tests/vllm starts the real one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import running

PLANNED = ("--max-model-len", "1024", "--kv-cache-memory-bytes", "95420416", "--block-size", "64")


def start(python: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "aivailable.engines.vllm_cpu", "--python", str(python), *words]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=20)


def environment_with(folder: Path, distribution: str, version: str) -> Path:
    """A Python whose only package is `vllm`, by that distribution; its API server says how it was started."""
    server = folder / "vllm" / "entrypoints" / "openai" / "api_server.py"
    server.parent.mkdir(parents=True)
    server.write_text("import json, os, sys\nprint(json.dumps([os.getpid(), sys.argv[1:], dict(os.environ)]))\n")
    metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(("distribution", "version"), [("vllm-cpu", "0.32.0"), ("vllm", "0.32.0+cpu")])
def test_vllm_gets_the_planned_flags_last_and_what_its_cpu_build_needs(
    tmp_path: Path, distribution: str, version: str
) -> None:
    done = start(
        environment_with(tmp_path, distribution, version), "/models/m", *PLANNED, VLLM_CPU_KVCACHE_SPACE="1", KEPT="1"
    )

    assert done.returncode == 0, done.stderr
    _, words, variables = json.loads(done.stdout)
    assert words == ["--enforce-eager", "--block-size", "32", "--model", "/models/m", *PLANNED]
    assert "VLLM_CPU_KVCACHE_SPACE" not in variables  # would win over --kv-cache-memory-bytes
    assert (variables["OMP_NUM_THREADS"], variables["KEPT"]) == ("1", "1")
    assert "simulated card: vLLM runs on the CPU" in done.stderr


def test_it_becomes_vllm_so_that_signals_reach_it(tmp_path: Path) -> None:
    python = environment_with(tmp_path, "vllm-cpu", "0.32.0")
    command = [sys.executable, "-m", "aivailable.engines.vllm_cpu", "--python", str(python), "/models/m"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        words, _ = process.communicate(timeout=20)

    assert json.loads(words)[0] == process.pid
    assert running(str(tmp_path)) == []


def test_vllm_for_a_gpu_is_refused(tmp_path: Path) -> None:
    done = start(environment_with(tmp_path, "vllm", "0.32.0"), "/models/m")

    assert done.returncode == 2
    assert "vllm==0.32.0, and not the build for CPUs" in done.stderr
    assert "AIVAILABLE_VLLM_CPU_PYTHON" in done.stderr


@pytest.mark.parametrize(
    ("python", "part"),
    [("/no/such/python", "No such file"), (sys.executable, "no vLLM"), ("/bin/false", "this is no Python")],
)
def test_where_no_vllm_is_that_is_said_with_a_hint(python: str, part: str) -> None:
    done = start(Path(python), "/models/m")

    assert done.returncode == 2
    assert part in done.stderr
    assert "hint: AIVAILABLE_VLLM_CPU_PYTHON names" in done.stderr
    assert "Traceback" not in done.stderr
