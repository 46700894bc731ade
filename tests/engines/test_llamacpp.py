"""The llama.cpp runner, with the real engine and the demo's model."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes import answers, eventually, free_port
from tests.weights import smollm2

pytestmark = pytest.mark.engine


def start(*flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "aivailable.engines.llamacpp", *flags]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def ends(*flags: str) -> tuple[int, str]:
    process = start(*flags)
    _, words = process.communicate(timeout=30)
    return process.returncode, words


class Server:
    def __init__(self, folder: Path, *flags: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "engine.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "aivailable.engines.llamacpp", "-m", str(smollm2()), "-a", "smol"),
                    *("--port", str(self.port), "-c", "1024", "-np", "2", "--metrics", "--simulated"),
                    *flags,
                ],
                stderr=log,
                stdout=log,
            )
        eventually(lambda: answers(f"{self.url}/health"), timeout_s=30)
        # llama.cpp answers before the runner has set its signal handlers.
        eventually(lambda: "is ready at" in self.log.read_text(), timeout_s=30)

    def in_flight(self) -> bool:
        return "requests_processing 1" in httpx.get(f"{self.url}/metrics", trust_env=False).text

    def ends_when_told_again(self) -> bool:
        """Asked now and then: two signals at one moment count as one, a flood of them overflows Python's stack."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.poll() is not None

    def complete(self, prompt: str, max_tokens: int) -> httpx.Response:
        body = {"model": "smol", "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True}
        return httpx.post(f"{self.url}/v1/completions", json=body, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("engine"))
    yield running
    running.process.kill()
    running.process.wait(10)


def test_it_answers_under_its_alias_and_names_paris(server: Server) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    body = {"model": "smol", "messages": messages, "temperature": 0, "max_tokens": 32}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60, trust_env=False).json()

    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["model"] == "smol"
    assert httpx.get(f"{server.url}/v1/models", trust_env=False).json()["data"][0]["id"] == "smol"


def test_it_says_that_it_is_simulated(server: Server) -> None:
    assert "simulated card" in server.log.read_text()


def test_each_slot_has_the_context_that_was_planned(server: Server) -> None:
    refused = server.complete("word " * 600, 1)

    assert refused.status_code == 400
    assert refused.json()["error"]["n_ctx"] == 512


def test_health_is_answered_while_more_requests_than_slots_wait(server: Server) -> None:
    outcomes: list[int] = []
    senders = [threading.Thread(target=lambda: outcomes.append(server.complete("a", 40).status_code)) for _ in range(8)]
    for sender in senders:
        sender.start()
    assert answers(f"{server.url}/health")
    for sender in senders:
        sender.join(60)

    assert outcomes == [200] * 8


def test_a_request_in_flight_is_finished_after_sigterm(tmp_path: Path) -> None:
    server = Server(tmp_path)
    outcomes: list[httpx.Response] = []
    sender = threading.Thread(target=lambda: outcomes.append(server.complete("Once upon a time", 200)))
    sender.start()
    eventually(server.in_flight)

    server.process.send_signal(signal.SIGTERM)

    sender.join(30)
    assert server.process.wait(30) == 0
    assert outcomes[0].json()["usage"]["completion_tokens"] == 200


@pytest.mark.parametrize(("timeout_s", "again", "code"), [("0.2", False, 1), ("20", True, 143)])
def test_requests_are_cut_at_the_deadline_or_by_a_second_signal(
    tmp_path: Path, timeout_s: str, again: bool, code: int
) -> None:
    server = Server(tmp_path, "--shutdown-timeout", timeout_s)
    outcomes: list[str] = []

    def send() -> None:
        try:
            outcomes.append(str(server.complete("Once upon a time", 480).status_code))
        except httpx.RemoteProtocolError:
            outcomes.append("cut")

    sender = threading.Thread(target=send)
    sender.start()
    eventually(server.in_flight)
    server.process.send_signal(signal.SIGTERM)
    if again:
        eventually(server.ends_when_told_again)

    assert server.process.wait(5) == code
    sender.join(5)
    assert outcomes == ["cut"]


def test_layers_left_on_the_cpu_are_refused() -> None:
    code, words = ends("-m", str(smollm2()), "-ngl", "10", "--port", str(free_port()))

    assert code == 2
    assert "-ngl 10 would leave layers on the CPU" in words


@pytest.mark.parametrize("device", [(), ("--device", "CUDA0")])
def test_without_a_gpu_it_refuses_to_start(device: tuple[str, ...]) -> None:
    code, words = ends("-m", str(smollm2()), "--port", str(free_port()), *device)

    assert code == 1
    assert "engines never fall back to the CPU" in words


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("-m", "/no/such.gguf", "--simulated"), "/no/such.gguf: no such file"),
        (("-m", "x", "--no-such-flag"), "--no-such-flag"),
        ((), "-m/--model"),
    ],
)
def test_wrong_flags_end_with_code_two(flags: tuple[str, ...], part: str) -> None:
    code, words = ends(*flags)

    assert code == 2
    assert part in words
    assert "Traceback" not in words


def test_a_taken_port_ends_with_code_two(server: Server) -> None:
    code, words = ends("-m", str(smollm2()), "--simulated", "--port", str(server.port))

    assert code == 2
    assert "Address already in use" in words


def test_a_file_that_is_no_model_ends_with_code_one(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF not really")
    code, words = ends("-m", str(tmp_path / "x.gguf"), "--simulated", "--port", str(free_port()))

    assert code == 1
    assert "llama.cpp did not start" in words
