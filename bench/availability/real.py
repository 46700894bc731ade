"""The real back end: Nomad and Consul in network namespaces, one per node (tests/real/rack.py), with stand-in engines.

A node holds agents, engines with their sidecars, perhaps a gateway and a controller; what hits a node hits them all.
"""

import contextlib
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from aivailable.clients.consul import ConsulRegistry
from aivailable.clients.nomad import NomadCluster, NomadSecrets
from aivailable.clients.nomad_api import NomadApi
from aivailable.controller.fleetstore import read_fleet
from aivailable.controller.observe import observe
from aivailable.errors import AivailableError, PermanentError, UserError
from aivailable.fleetfile import dump_fleet_file
from aivailable.keystore import read_keys
from aivailable.model.fleet import Fleet
from aivailable.model.replica import Replica
from aivailable.model.service import CONTROLLER_SERVICE, GATEWAY_SERVICE, Instance
from aivailable.model.snapshot import Snapshot
from aivailable.settings import ConsulSettings, NomadSettings
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
from bench.availability.schedule import Fault
from bench.availability.tasks import send
from tests.real.life import NODES, STAND_IN, Life
from tests.real.rack import Rack, rack, why_not

SERVES_S = 120.0
NAMES_S = 0.5
"""How often clients look the gateways up."""
GATEWAYS = 2

OFFERED = frozenset(
    {
        "engine-kill",
        "engine-freeze",
        "sidecar-kill",
        "node-power",
        "node-freeze",
        "node-link",
        "node-drain",
        "update",
        "nomad-client-kill",
        "consul-agent-kill",
        "gateway-envoy-kill",
        "gateway-envoy-freeze",
        "gateway-feeder-kill",
        "gateway-feeder-freeze",
        "controller-kill",
        "controller-freeze",
    }
)


class Real:
    """The running system of one rack; made by `real()`."""

    def __init__(self, running: Rack, folder: Path) -> None:
        self._rack = running
        self._folder = folder
        self._life = Life(running, {"AIVAILABLE_LLAMACPP_COMMAND": f"{STAND_IN} {STAND_IN_FLAGS}"})
        self._own = threading.local()
        self._opened: list[Callable[[], None]] = []
        self._fleet = Fleet()
        self.key = ""
        self.gateways: tuple[str, ...] = ()
        self.offered = OFFERED

    def start(self) -> None:
        """Start controllers, gateways and engines, and wait until all serve.

        Raises:
            PermanentError: They do not within their time.
        """
        self._run("up")
        file = self._folder / "fleet.toml"
        file.write_text(FLEET)
        self._run("deploy", str(file), "--yes")
        api = NomadApi(NomadSettings(address=self._rack.nomad))
        try:
            self.key = read_keys(NomadSecrets(api))[0].secret
        finally:
            api.close()
        self._fleet = read_fleet(self._registry()).fleet
        deadline = time.monotonic() + SERVES_S
        while not self._quietly_recovered():
            if time.monotonic() > deadline:
                raise PermanentError(f"not everything serves within {SERVES_S:g} s")
            time.sleep(NAMES_S)

    def look(self) -> Snapshot:
        """Everything as it is now."""
        return observe(self._cluster(), self._registry())

    def booked_mib(self) -> Mapping[str, int]:
        """What living engine processes have booked, by card."""
        return booked_mib_of(tasks.running(self._rack.folder, "engine").values())

    def access_logs(self) -> Mapping[str, Path]:
        """The access logs of the gateways' Envoys: of every allocation that there was."""
        found = self._rack.folder.glob("*/nomad/alloc/*/gateway/local/gateway/access.log")
        return {f"{path.relative_to(self._rack.folder).parts[0]} {path.parts[-5][:8]}": path for path in found}

    def recovered(self) -> bool:
        """Whether every node, replica, gateway and controller is there and serves."""
        snapshot = self.look()
        if {node.name for node in snapshot.nodes} < set(NODES) or not whole(self._fleet, snapshot):
            return False
        self.find_gateways()
        return (
            len(self._passing(CONTROLLER_SERVICE)) == len(self._passing(GATEWAY_SERVICE)) == GATEWAYS
            and all(answers(gateway, self.key) for gateway in self.gateways)
            and bool(self._life.lock())
        )

    def find_gateways(self) -> None:
        """Look the gateways up, as clients do by name; one that is down for a moment stays known while no other is."""
        passing = [f"{instance.address}:{instance.port}" for instance in self._passing(GATEWAY_SERVICE)]
        known = [gateway for gateway in self.gateways if gateway not in passing]
        self.gateways = tuple(sorted([*passing, *known][: max(GATEWAYS, len(passing))]))

    def blow(self, fault: Fault) -> Blow | None:
        """Make a fault ready; None when there is nothing now that may be hit."""
        name = fault.kind.name
        if name.startswith("gateway"):
            return self._on_gateway(name, self.gateways[int(fault.draw * len(self.gateways))])
        if name.startswith("controller"):
            return self._on_controller(name, fault.draw)
        if name == "update":
            return self._update(self._fleet.models[int(fault.draw * len(self._fleet.models))].name)
        snapshot = self.look()
        if name.startswith(("engine", "sidecar")):
            replicas = spare(snapshot)
            return self._on_task(name, replicas[int(fault.draw * len(replicas))]) if replicas else None
        nodes = spare_nodes(snapshot)
        if not nodes:
            return None
        node = list(nodes)[int(fault.draw * len(nodes))]
        return self._on_node(name, node, nodes[node], snapshot)

    def _on_task(self, name: str, replica: Replica) -> Blow | None:
        task = "mesh" if name == "sidecar-kill" else "engine"
        found = tasks.running(self._rack.folder, task).get(replica.alloc)
        if found is None:
            return None
        return Blow(
            target=f"{replica.job} on {replica.node}",
            strike=partial(send, found.pids, signal.SIGKILL if name.endswith("kill") else signal.SIGSTOP),
            mend=partial(send, found.pids, signal.SIGCONT),
            recovered=self.recovered,
            models=(replica.model,),
        )

    def _on_node(self, name: str, node: str, there: list[Replica], snapshot: Snapshot) -> Blow:
        running, models = self._rack, {replica.model for replica in there}
        deals: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "node-power": (partial(running.kill_node, node), partial(self._power_up, node)),
            "node-freeze": (partial(running.freeze, node), partial(running.thaw, node)),
            "node-link": (partial(self._link, node, "down"), partial(self._link, node, "up")),
            "node-drain": (partial(self._run, "drain", node, "--yes"), partial(self._run, "undrain", node)),
            "nomad-client-kill": (partial(running.kill, f"nomad-{node}"), partial(running.start_nomad, node)),
            "consul-agent-kill": (partial(running.kill, f"consul-{node}"), partial(running.start_consul, node)),
        }
        strike, mend = deals[name]
        for_good = {model: {r.alloc for r in snapshot.replicas if r.model == model} for model in models}
        here = [gateway for gateway in self.gateways if gateway.startswith(f"{running.address(node)}:")]
        return Blow(
            target=node + (" with a gateway" if here else ""),
            strike=strike,
            mend=mend,
            recovered=self.recovered,
            models=tuple(sorted(models)),
            gateway=here[0] if here else "",
            lost=for_good if name in ("node-power", "node-link") else {},
        )

    def _power_up(self, node: str) -> None:
        self._rack.start_consul(node)
        self._rack.start_nomad(node)

    def _link(self, node: str, state: str) -> None:
        subprocess.run(["ip", "link", "set", self._rack.link(node), state], check=True)  # noqa: S607 - iproute2

    def _update(self, model: str) -> Blow:
        newer = changed_context(read_fleet(self._registry()).fleet, model)
        file = self._folder / "update.toml"

        def strike() -> None:
            file.write_text(dump_fleet_file(newer))
            # Detached: whether and when it is done is for `recovered` to say.
            self._run("deploy", str(file), "--yes", "--detach")

        before = {replica.job for replica in self.look().replicas if replica.model == model}
        return Blow(
            target=f"{model} to a context of {updated(newer, model)}",
            strike=strike,
            recovered=lambda: self.recovered() and not before & {r.job for r in self.look().replicas},
            models=(model,),
        )

    def _on_gateway(self, name: str, gateway: str) -> Blow | None:
        node = next((node for node in NODES if gateway.startswith(f"{self._rack.address(node)}:")), "")
        word = "gateway --directory" if "feeder" in name else "envoy --config-path"
        pids = self._life.pids(node, word) if node else []
        if not pids:
            return None
        return Blow(
            target=f"gateway on {node}",
            strike=partial(send, pids, signal.SIGKILL if name.endswith("kill") else signal.SIGSTOP),
            mend=partial(send, pids, signal.SIGCONT),
            recovered=self.recovered_gateways,
            gateway=gateway,
        )

    def recovered_gateways(self) -> bool:
        """Whether both gateways are there and answer."""
        self.find_gateways()
        passing = self._passing(GATEWAY_SERVICE)
        return len(passing) == GATEWAYS and all(answers(gateway, self.key) for gateway in self.gateways)

    def _on_controller(self, name: str, draw: float) -> Blow | None:
        pids = [(node, pid) for node in NODES for pid in self._life.pids(node, "controller --address")]
        if not pids:
            return None
        node, pid = pids[int(draw * len(pids))]
        return Blow(
            target=f"controller on {node}",
            strike=partial(send, (pid,), signal.SIGKILL if name.endswith("kill") else signal.SIGSTOP),
            mend=partial(send, (pid,), signal.SIGCONT),
            recovered=lambda: len(self._passing(CONTROLLER_SERVICE)) == GATEWAYS and bool(self._life.lock()),
        )

    def _passing(self, service: str) -> list[Instance]:
        return [instance for instance in self._registry().instances(service) if instance.passing]

    def _quietly_recovered(self) -> bool:
        try:
            return self.recovered()
        except AivailableError:
            return False

    def _run(self, *words: str) -> None:
        """One verb of our own command line.

        Raises:
            PermanentError: It failed, with what it said.
        """
        done = self._life.run(*words)
        if done.returncode != 0:
            raise PermanentError(f"{' '.join(words)}: {(done.stdout + done.stderr).strip()[-500:]}")

    def _cluster(self) -> NomadCluster:
        """Of the calling thread: lanes look at once."""
        if not hasattr(self._own, "cluster"):
            api = NomadApi(NomadSettings(address=self._rack.nomad))
            self._opened.append(api.close)
            self._own.cluster = NomadCluster(api)
        found: NomadCluster = self._own.cluster
        return found

    def _registry(self) -> ConsulRegistry:
        if not hasattr(self._own, "registry"):
            self._own.registry = ConsulRegistry(ConsulSettings(address=self._rack.consul))
            self._opened.append(self._own.registry.close)
        found: ConsulRegistry = self._own.registry
        return found

    def close(self) -> None:
        """Close what lanes have opened; they have ended."""
        for close in self._opened:
            close()


@contextlib.contextmanager
def real() -> Iterator[Real]:
    """A running rack with everything up; afterwards nothing of it is left.

    Raises:
        UserError: A part is missing.
    """
    if missing := why_not():
        raise UserError(f"there can be no real rack here: {missing}", hint="tests/setup.sh installs what Debian has")
    with rack() as running, tempfile.TemporaryDirectory(prefix="bench-availability-") as name:
        backend = Real(running, Path(name))
        backend.start()
        try:
            with _looking_up(backend):
                yield backend
        finally:
            backend.close()


@contextlib.contextmanager
def _looking_up(backend: Real) -> Iterator[None]:
    """Clients look the gateways up by name all the time."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(NAMES_S):
            with contextlib.suppress(AivailableError):
                backend.find_gateways()

    thread = threading.Thread(target=run, name="names")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
