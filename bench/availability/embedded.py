"""The embedded back end: agent, two gateways, two controllers, each a process of its own, and what can be done to them.

Nodes are simulated, so a node's loss is its power cord or its drain; engines, Envoys, feeders and controllers are real
processes that are killed and frozen as such.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from aivailable.cli.fleet_input import fleet_from_file
from aivailable.controller.fleetstore import read_fleet, write_fleet
from aivailable.controller.mesh import without_mesh
from aivailable.controller.observe import observe
from aivailable.controller.sources import Sources
from aivailable.embedded.cluster import EmbeddedCluster
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.embedded.state import is_running
from aivailable.errors import PermanentError
from aivailable.keystore import create_key
from aivailable.model.fleet import Fleet
from aivailable.model.replica import Replica
from aivailable.model.service import LEAVING_PREFIX
from aivailable.model.snapshot import Snapshot
from aivailable.settings import load, shipped
from bench.availability import tasks
from bench.availability.backend import (
    FLEET,
    STAND_IN_FLAGS,
    Blow,
    answers,
    booked_mib_of,
    changed_context,
    spare,
    spare_nodes,
    updated,
    whole,
)
from bench.availability.part import ENVOY_PID
from bench.availability.schedule import Fault
from bench.availability.supervised import Supervised
from bench.availability.tasks import send
from bench.gateway.processes import free_port

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_S = 60.0
GATEWAY_DELAY_S, CONTROLLER_DELAY_S = 1.0, 2.0
"""The restart delays of jobs/gateway.nomad.hcl.j2 and jobs/controller.nomad.hcl.j2."""
EMPTY_S = 30.0
"""How long a node that is to be emptied may take before it is drained all the same."""

OFFERED = frozenset(
    {
        "engine-kill",
        "engine-freeze",
        "node-power",
        "node-drain",
        "update",
        "gateway-envoy-kill",
        "gateway-envoy-freeze",
        "gateway-feeder-kill",
        "gateway-feeder-freeze",
        "controller-kill",
        "controller-freeze",
    }
)
NEEDS_CONTROLLER = frozenset({"update", "controller-kill", "controller-freeze"})


class Embedded:
    """The running system of one state directory; made by `embedded()`."""

    def __init__(self, state: Path, *, without: str) -> None:
        self._state = state
        self._without = without
        self._cluster = EmbeddedCluster(state)
        self._registry = EmbeddedRegistry(state)
        # Without a controller nobody keeps a model's replicas apart: both may be lost at once, and that is the figure.
        self._apart = without != "controller"
        self._fleet = Fleet()
        self._gateways: list[tuple[Supervised, Path]] = []
        self._controllers: list[Supervised] = []
        self.gateways: tuple[str, ...] = ()
        self.key = ""
        self.offered = OFFERED - (NEEDS_CONTROLLER if without == "controller" else frozenset())

    def start(self, running: ExitStack) -> None:
        """Start everything and wait until it serves.

        Raises:
            PermanentError: It does not within its time.
        """
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "AIVAILABLE_STATE": str(self._state),
            "AIVAILABLE_LLAMACPP_COMMAND": f"{sys.executable} {ROOT / 'bench' / 'engine.py'} {STAND_IN_FLAGS}",
        }
        self._part(running, environment, "agent", "--inventory", str(shipped("examples") / "demo-inventory.toml"))
        _until(lambda: is_running(self._state) and bool(self._cluster.snapshot().nodes), "the agent did not start")
        self.key = create_key(EmbeddedSecrets(self._state), "bench").secret
        file = self._state / "fleet.toml"
        file.write_text(FLEET)
        self._fleet = without_mesh(fleet_from_file(file, Sources(load(environment))))
        write_fleet(self._registry, self._fleet, seen=read_fleet(self._registry))
        for number in (1, 2):
            self._gateway(running, environment, number)
        with_controllers = running if self._without != "controller" else running.enter_context(ExitStack())
        self._controllers = [
            self._part(with_controllers, environment, "controller", number=number, delay_s=CONTROLLER_DELAY_S)
            for number in (1, 2)
        ]
        _until(self._serves, "the fleet does not serve")
        if self._without == "controller":
            with_controllers.close()

    def look(self) -> Snapshot:
        """Everything as it is now."""
        return observe(self._cluster, self._registry)

    def booked_mib(self) -> Mapping[str, int]:
        """What living engine processes have booked, by card."""
        return booked_mib_of(tasks.running(self._state / "allocs", "engine").values())

    def access_logs(self) -> Mapping[str, Path]:
        """The access logs of the gateways' Envoys."""
        return {directory.name: directory / "access.log" for _, directory in self._gateways}

    def recovered(self) -> bool:
        """Whether everything serves as it should."""
        return whole(self._fleet, self.look(), apart=self._apart)

    def _serves(self) -> bool:
        return self.recovered() and all(answers(gateway, self.key) for gateway in self.gateways)

    def blow(self, fault: Fault) -> Blow | None:
        """Make a fault ready; None when there is nothing now that may be hit."""
        name = fault.kind.name
        if name.startswith("gateway"):
            return self._on_gateway(name, int(fault.draw * len(self._gateways)))
        if name.startswith("controller"):
            return self._on_controller(name, self._controllers[int(fault.draw * len(self._controllers))])
        if name == "update":
            return self._update(self._fleet.models[int(fault.draw * len(self._fleet.models))].name)
        snapshot = self.look()
        if name.startswith("engine"):
            replicas = spare(snapshot, apart=self._apart)
            return self._on_engine(name, replicas[int(fault.draw * len(replicas))]) if replicas else None
        nodes = spare_nodes(snapshot, apart=self._apart)
        if not nodes:
            return None
        node = list(nodes)[int(fault.draw * len(nodes))]
        return self._node_power(node, nodes[node], snapshot) if name == "node-power" else self._drain(node, nodes[node])

    def _on_engine(self, name: str, replica: Replica) -> Blow | None:
        found = tasks.running(self._state / "allocs", "engine").get(replica.alloc)
        if found is None:
            return None
        first = signal.SIGKILL if name == "engine-kill" else signal.SIGSTOP
        return Blow(
            target=f"{replica.job} on {replica.node}",
            strike=partial(send, found.pids, first),
            mend=partial(send, found.pids, signal.SIGCONT),
            recovered=self.recovered,
            models=(replica.model,),
        )

    def _node_power(self, node: str, there: list[Replica], snapshot: Snapshot) -> Blow:
        models = {replica.model for replica in there}
        return Blow(
            target=node,
            strike=partial(self._cluster.set_node_down, node, down=True),
            mend=partial(self._cluster.set_node_down, node, down=False),
            recovered=self.recovered,
            models=tuple(sorted(models)),
            lost={model: {r.alloc for r in snapshot.replicas if r.model == model} for model in models},
        )

    def _drain(self, node: str, there: list[Replica]) -> Blow:
        return Blow(
            target=node,
            strike=partial(self._empty, node),
            mend=partial(self._fill, node),
            recovered=self.recovered,
            models=tuple(sorted({replica.model for replica in there})),
        )

    def _empty(self, node: str) -> None:
        """Have a node's work moved off first, then give it none: what `aivailable drain` does."""
        if self._without != "controller":
            self._registry.put(f"{LEAVING_PREFIX}{node}", b"{}")
            deadline = time.monotonic() + EMPTY_S
            while any(r.node == node for r in self.look().replicas) and time.monotonic() < deadline:
                time.sleep(0.1)
        self._cluster.drain(node, deadline_s=EMPTY_S)

    def _fill(self, node: str) -> None:
        self._registry.delete(f"{LEAVING_PREFIX}{node}")
        self._cluster.set_eligibility(node, eligible=True)

    def _update(self, model: str) -> Blow:
        stored = read_fleet(self._registry)
        newer = changed_context(stored.fleet, model)

        def strike() -> None:
            write_fleet(self._registry, newer, seen=stored)

        before = {replica.job for replica in self.look().replicas if replica.model == model}
        return Blow(
            target=f"{model} to a context of {updated(newer, model)}",
            strike=strike,
            recovered=lambda: self.recovered() and not before & {r.job for r in self.look().replicas},
            models=(model,),
        )

    def _on_gateway(self, name: str, number: int) -> Blow:
        feeder, directory = self._gateways[number]
        first = signal.SIGKILL if name.endswith("kill") else signal.SIGSTOP
        pid = feeder.pid if "feeder" in name else int((directory / ENVOY_PID).read_text())
        return Blow(
            target=f"{directory.name}",
            strike=partial(send, (pid,), first),
            mend=partial(send, (pid,), signal.SIGCONT),
            recovered=lambda: feeder.running and answers(self.gateways[number], self.key),
            gateway=self.gateways[number],
        )

    def _on_controller(self, name: str, controller: Supervised) -> Blow:
        pid, starts = controller.pid, controller.starts
        kill = name == "controller-kill"
        return Blow(
            target=f"controller-{self._controllers.index(controller) + 1}",
            strike=partial(send, (pid,), signal.SIGKILL if kill else signal.SIGSTOP),
            mend=partial(send, (pid,), signal.SIGCONT),
            recovered=lambda: controller.running and (not kill or controller.starts > starts),
        )

    def _gateway(self, running: ExitStack, environment: Mapping[str, str], number: int) -> None:
        directory = self._state / f"gateway-{number}"
        port, probe = free_port(), free_port()
        ports = {"AIVAILABLE_GATEWAY_PORT": str(port), "AIVAILABLE_PROBE_PORT": str(probe)}
        part = self._part(
            running,
            {**environment, **ports},
            *("gateway", "--directory", str(directory)),
            number=number,
            delay_s=GATEWAY_DELAY_S,
        )
        self._gateways.append((part, directory))
        self.gateways += (f"{HOST}:{port}",)

    def _part(
        self,
        running: ExitStack,
        environment: Mapping[str, str],
        name: str,
        *words: str,
        number: int = 0,
        delay_s: float = 1.0,
    ) -> Supervised:
        command = [sys.executable, "-m", "bench.availability.part", name, *words, "--without", self._without]
        log = self._state / (f"{name}-{number}.log" if number else f"{name}.log")
        return running.enter_context(Supervised(command, environment=environment, log=log, delay_s=delay_s))


@contextmanager
def embedded(state: Path, *, without: str = "") -> Iterator[Embedded]:
    """A running embedded system; afterwards nothing of it is left."""
    state.mkdir(parents=True, exist_ok=True)
    backend = Embedded(state, without=without)
    with ExitStack() as running:
        backend.start(running)
        yield backend


def _until(check: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + START_S
    while not check():
        if time.monotonic() > deadline:
            raise PermanentError(f"{failure} within {START_S:g} s", hint="the parts' logs are in its state directory")
        time.sleep(0.1)
