"""`python -m bench.availability.part agent|gateway|controller`: one part of an embedded system, until SIGTERM.

The verbs `gateway` and `controller` are for real clusters only; these are the same objects on the embedded stores. The
settings come from the environment, as everywhere.
"""

import argparse
import os
from pathlib import Path

from aivailable.cli.serving import log_to_stderr, stopped_by_signal
from aivailable.controller.loop import Controller
from aivailable.devices.simulated import load_nodes
from aivailable.embedded.agent import Agent
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.processes import remember
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.embedded.state import StateFiles
from aivailable.gateway.envoy import Envoy
from aivailable.gateway.feeder import Feeder
from aivailable.gateway.policies import Policies
from aivailable.settings import Settings, load, shipped
from bench.availability.without import MECHANISMS, HardPlacement, policies

ENVOY_PID = "envoy.pid"
"""In a gateway's directory: the process of its Envoy."""


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(prog="bench.availability.part")
    parser.add_argument("part", choices=("agent", "gateway", "controller"))
    parser.add_argument("--inventory", type=Path)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--without", choices=("", *MECHANISMS), default="")
    options = parser.parse_args()
    log_to_stderr()
    settings = load(os.environ)
    {"agent": _agent, "gateway": _gateway, "controller": _controller}[options.part](options, settings)


def _agent(options: argparse.Namespace, settings: Settings) -> None:
    stop = stopped_by_signal()
    nodes = load_nodes(options.inventory.read_text(), where=str(options.inventory))
    with Agent(settings.state, nodes) as agent:
        while not stop.wait(0.5) and agent.failure is None:
            pass


def _gateway(options: argparse.Namespace, settings: Settings) -> None:
    stop = stopped_by_signal()
    directory: Path = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    feeder = Feeder(
        EmbeddedRegistry(settings.state),
        EmbeddedSecrets(settings.state),
        directory,
        settings,
        name=directory.name,
        policies=policies(Policies.read(shipped("envoy")), options.without),
    )
    feeder.publish_first(stop)

    def started(pid: int) -> None:
        remember(StateFiles(settings.state).processes, pid)
        (directory / ENVOY_PID).write_text(str(pid))

    if not stop.is_set():
        with Envoy(directory, settings, started=started) as envoy:
            feeder.run(stop)
            envoy.drain()
            feeder.count_last()


def _controller(options: argparse.Namespace, settings: Settings) -> None:
    hard = options.without == "soft-placement"
    cluster = HardPlacement(settings.state) if hard else EmbeddedCluster(settings.state)
    Controller(cluster, EmbeddedRegistry(settings.state), settings).run(stopped_by_signal())


if __name__ == "__main__":
    main()
