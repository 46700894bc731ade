"""What we are compared with, as their own pages say to start them; each in an environment of its own below `.bench`."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.gateway.ours import KEY
from bench.gateway.processes import free_port, running

ENVIRONMENTS = Path(__file__).parents[2] / ".bench"
PACKAGES = {"vllm-router": "vllm-router", "smg": "smg", "litellm": "litellm[proxy]"}
SAME = {"vllm-router-rr": "vllm-router"}
"""Rows that run another row's program."""
MASTER_KEY = KEY

Peer = Callable[[Path, tuple[int, ...]], AbstractContextManager[tuple[int, int]]]


def missing(name: str) -> str:
    """Why a peer cannot be run here; empty when it can."""
    if name == "haproxy":
        return "" if shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin") else "haproxy is not installed"
    name = SAME.get(name, name)
    try:
        _program(name)
    except subprocess.CalledProcessError as error:
        return f"{PACKAGES[name]} cannot be installed: {error.stderr.strip().splitlines()[-1:]}"
    return ""


@contextmanager
def vllm_router(folder: Path, ports: tuple[int, ...], *options: str) -> Iterator[tuple[int, int]]:
    """The router of the vLLM project with its defaults: it knows caches, for which an engine renders each prompt."""
    port, folder = free_port(), _made(folder)
    workers = [f"http://127.0.0.1:{p}" for p in ports]
    command = [_program("vllm-router"), "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *workers]
    command += ["--prometheus-port", str(free_port()), "--log-level", "warning", *options]
    with running(command, port, folder / "log") as pid:
        yield pid, port


def vllm_router_rr(folder: Path, ports: tuple[int, ...]) -> AbstractContextManager[tuple[int, int]]:
    """The same with the least that it can do: taking turns."""
    return vllm_router(folder, ports, "--policy", "round_robin")


@contextmanager
def smg(folder: Path, ports: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Shepherd Model Gateway, the router that grew out of SGLang's."""
    port, folder = free_port(), _made(folder)
    workers = [f"http://127.0.0.1:{p}" for p in ports]
    command = [_program("smg"), "launch", "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *workers]
    command += ["--prometheus-port", str(free_port()), "--log-level", "warn"]
    with running(command, port, folder / "log") as pid:
        yield pid, port


@contextmanager
def haproxy(folder: Path, ports: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """HAProxy with least connections and a check of one key: it reads no body and counts no token."""
    port, folder = free_port(), _made(folder)
    servers = "\n".join(f"  server e{p} 127.0.0.1:{p}" for p in ports)
    text = f"""global
  nbthread 2
  maxconn 4000
defaults
  mode http
  timeout connect 1s
  timeout client 600s
  timeout server 600s
  option http-keep-alive
frontend front
  bind 127.0.0.1:{port}
  http-request deny deny_status 401 unless {{ req.hdr(authorization) -m str "Bearer {KEY}" }}
  default_backend engines
backend engines
  balance leastconn
  http-reuse always
{servers}
"""
    (folder / "haproxy.cfg").write_text(text)
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "haproxy"
    with running([program, "-db", "-f", str(folder / "haproxy.cfg")], port, folder / "log") as pid:
        yield pid, port


@contextmanager
def litellm(folder: Path, ports: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """LiteLLM's proxy with one worker, its default, and a master key."""
    port, folder = free_port(), _made(folder)
    models = "\n".join(
        "  - model_name: m-a\n"
        f"    litellm_params: {{model: openai/m-a, api_base: 'http://127.0.0.1:{p}/v1', api_key: x}}"
        for p in ports
    )
    (folder / "config.yaml").write_text(f"model_list:\n{models}\ngeneral_settings:\n  master_key: {MASTER_KEY}\n")
    command = [_program("litellm"), "--host", "127.0.0.1", "--port", str(port), "--config", str(folder / "config.yaml")]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
    with running(command, port, folder / "log", env=quiet, ready_s=180) as pid:
        yield pid, port


def _program(name: str) -> str:
    """A peer's program; its environment is made at the first use and kept.

    Raises:
        subprocess.CalledProcessError: It cannot be installed.
    """
    environment = ENVIRONMENTS / name
    stamp = environment / "installed"
    if not stamp.is_file():
        ENVIRONMENTS.mkdir(exist_ok=True)
        print(f"installing {PACKAGES[name]} into .bench/{name} …", file=sys.stderr, flush=True)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(environment)],
            [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", PACKAGES[name]],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True)
        stamp.touch()
    return str(environment / "bin" / name)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


PEERS: dict[str, Peer] = {
    "vllm-router": vllm_router,
    "vllm-router-rr": vllm_router_rr,
    "smg": smg,
    "haproxy": haproxy,
    "litellm": litellm,
}
