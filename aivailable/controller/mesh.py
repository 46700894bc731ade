"""The mesh of a real cluster: which one a fleet gets, and who may speak to engines in it."""

from dataclasses import replace

from aivailable.model.fleet import Fleet
from aivailable.model.service import ENGINE_SERVICE, GATEWAY_SERVICE
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Certificates, Intentions

ANYBODY = "*"
"""Consul's word for any service that no other intention is about."""

RULES = ((ANYBODY, ENGINE_SERVICE, False), (GATEWAY_SERVICE, ENGINE_SERVICE, True))
"""Who to whom, and whether it may: gateways speak to engines, nobody else does."""


def settle(wanted: Fleet, present: Fleet, snapshot: Snapshot, certificates: Certificates | None) -> Fleet:
    """The fleet with its mesh said: what it asks for, else what the present one has, else what every node can do.

    It is settled once, when a fleet is written, and not by what nodes there are at the moment: another mesh is another
    job for every replica. Without `certificates` there is none.

    Raises:
        UserError: It is to have a mesh, and Consul's is off.
    """
    if certificates is None:
        return without_mesh(wanted)
    mesh = wanted.mesh or present.mesh or _possible(snapshot)
    settled = replace(wanted, mesh=mesh)
    if settled.meshed:
        certificates.roots()
    return settled


def without_mesh(fleet: Fleet) -> Fleet:
    """The fleet as a rack of one machine runs it."""
    return replace(fleet, mesh="none") if fleet.meshed else fleet


def _possible(snapshot: Snapshot) -> str:
    """A network of its own for each engine where every node with cards can give it one, else the host's loopback."""
    return "bridge" if all(node.bridge for node in snapshot.nodes if node.cards) else "host"


def write_intentions(intentions: Intentions) -> bool:
    """Make Consul hold the rules.

    Returns:
        Whether anything had to be changed.
    """
    changed = [intentions.set(source, destination, allow=allow) for source, destination, allow in RULES]
    return any(changed)


def wrong_intentions(intentions: Intentions) -> list[str]:
    """What Consul would decide against the rules, in words; empty where it decides as it should."""
    nobody = f"{GATEWAY_SERVICE}-nobody"
    asked = ((nobody if source == ANYBODY else source, to, allow) for source, to, allow in RULES)
    return [
        f"{source if source != nobody else 'any service'} {'may' if not allow else 'may not'} speak to {to}"
        for source, to, allow in asked
        if intentions.allowed(source, to) != allow
    ]
