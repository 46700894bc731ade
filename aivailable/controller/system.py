"""AIvailable's own jobs on a real cluster: registered, watched until they are healthy, stopped."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aivailable.clients.nomad import NomadCluster
from aivailable.errors import GaveUpError, UserError
from aivailable.model.service import (
    CONTROLLER_JOB,
    CONTROLLER_SERVICE,
    GATEWAY_JOB,
    GATEWAY_SERVICE,
    Instance,
)
from aivailable.model.snapshot import Snapshot
from aivailable.rendering import render_controller, render_gateway
from aivailable.seams import Cluster, Registry
from aivailable.settings import Settings

COPIES = 2
"""Of controllers and gateways: one may be lost with its node."""
CONSUL_META = "aivailable_consul"
LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemLook:
    """What of the system is up: passing instances, and how many are wanted of each; of other services one each."""

    controllers: tuple[Instance, ...]
    gateways: tuple[Instance, ...]
    copies: int
    others: Mapping[str, tuple[Instance, ...]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether everything is up."""
        return min(len(self.controllers), len(self.gateways)) >= self.copies and all(self.others.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """The other services that are not healthy."""
        return tuple(service for service, instances in self.others.items() if not instances)


def copies_for(snapshot: Snapshot) -> int:
    """How many controllers and gateways a cluster gets: two, on one node one.

    Raises:
        UserError: No node can run them.
    """
    able = [node for node in snapshot.nodes if node.ready and node.eligible and CONSUL_META in node.meta]
    if not able:
        raise UserError(
            f"no ready node has the meta {CONSUL_META}, the address of its Consul agent",
            hint="set up nodes with deploy/node.sh; `aivailable doctor` looks at each",
        )
    return min(COPIES, len(able))


def register(nomad: NomadCluster, settings: Settings, *, copies: int) -> None:
    """Register controllers and gateways, or update them; those that need not change run on."""
    for job in (render_gateway(settings, copies=copies), render_controller(settings, copies=copies)):
        nomad.replace(job.id, job.text)


def watch(
    cluster: Cluster,
    registry: Registry,
    *,
    copies: int,
    timeout_s: float,
    others: Sequence[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[SystemLook]:
    """Looks, one after each change, until controllers, gateways and the other services named are healthy.

    Raises:
        GaveUpError: `timeout_s` passed; the cluster works on.
    """
    deadline, index = clock() + timeout_s, 0
    while True:
        look = SystemLook(
            controllers=_passing(registry, CONTROLLER_SERVICE),
            gateways=_passing(registry, GATEWAY_SERVICE),
            copies=copies,
            others={service: _passing(registry, service) for service in others},
        )
        yield look
        if look.done:
            return
        if clock() >= deadline:
            raise GaveUpError(
                f"gave up watching after {timeout_s:.0f} s: {len(look.controllers)} of {copies} controllers and "
                f"{len(look.gateways)} of {copies} gateways are healthy"
                + "".join(f", {service} is not" for service in look.missing),
                hint=f"`nomad job status {next(iter(look.missing), GATEWAY_JOB)}` says what Nomad does; "
                "the cluster works on",
            )
        index = cluster.changed(index, LOOK_S)


def stop_everything(cluster: Cluster) -> int:
    """Stop controllers, then engines, then gateways; fleet and keys stay.

    Returns:
        How many engines were stopped.
    """
    cluster.stop(CONTROLLER_JOB)
    replicas = cluster.snapshot().replicas
    for replica in replicas:
        cluster.stop(replica.job)
    cluster.stop(GATEWAY_JOB)
    return len(replicas)


def _passing(registry: Registry, service: str) -> tuple[Instance, ...]:
    return tuple(instance for instance in registry.instances(service) if instance.passing)
