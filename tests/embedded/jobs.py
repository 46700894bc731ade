"""Small job texts for the embedded cluster."""

import sys
from pathlib import Path
from typing import TypedDict

from aivailable.model.cards import Node
from tests.samples import card, node

ROOT = Path(__file__).parents[2]


def nodes() -> tuple[Node, ...]:
    """Two nodes: one card of 4 slices and one of 8."""
    return (
        node("node1", card("Small", 2048, node="node1", simulated=True), node_class="old"),
        node("node2", card("Large", 4096, node="node2", simulated=True), node_class="new"),
    )


TEXT = """
job "@job_id@" {
  type     = "service"
  priority = @priority@
  meta {
    model   = "m"
    variant = "./m.gguf"
    replica = "0"
  }
  group "engine" {
    count          = 1
    shutdown_delay = "100ms"
    restart {
      attempts = 1
      interval = "1m"
      delay    = "100ms"
      mode     = "fail"
    }
    reschedule {
      delay          = "100ms"
      delay_function = "constant"
      unlimited      = true
    }
    network {
      port "http" {}
    }
    service {
      name     = "llm-engine"
      port     = "http"
      provider = "consul"
      tags     = ["m"]
      meta {
        model = "m"
        alloc = "${NOMAD_ALLOC_ID}"
      }
      check {
        type     = "http"
        path     = "/health"
        interval = "100ms"
        timeout  = "1s"
      }
    }
    @group@
    task "engine" {
      driver       = "raw_exec"
      kill_timeout = "2s"
      config {
        command = "@command@"
        args    = [@listed@]
      }
      env {
        PYTHONPATH = "@root@"
      }
      @task@
      resources {
        cpu    = 100
        memory = 64
        device "nvidia/vram" {
          count = @slices@
          @device@
        }
      }
    }
  }
}
"""


def job(
    job_id: str = "llm-m-0-00000000",
    *,
    slices: int = 2,
    command: str = "",
    args: tuple[str, ...] = (),
    device: str = "",
    group: str = "",
    task: str = "",
    priority: int = 50,
) -> str:
    """A job whose engine is the stand-in, or another command; extra text goes into device, group or task block."""
    words = args or ("-m", "bench.engine", "--host", "${NOMAD_IP_http}", "--port", "${NOMAD_PORT_http}")
    values = {
        "job_id": job_id,
        "priority": str(priority),
        "group": group,
        "command": command or sys.executable,
        "listed": ", ".join(f'"{word}"' for word in words),
        "root": str(ROOT),
        "task": task,
        "slices": str(slices),
        "device": device,
    }
    text = TEXT
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


class Command(TypedDict):
    """Keywords of `job`."""

    command: str
    args: tuple[str, ...]


def shell(line: str) -> Command:
    """A shell line as the engine."""
    return {"command": "/bin/sh", "args": ("-c", line.replace('"', '\\"'))}
