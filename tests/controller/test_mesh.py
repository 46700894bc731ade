"""Which mesh a fleet gets, and what is said of intentions; pure, with certificates and intentions that are data."""

from dataclasses import dataclass, field, replace

import pytest

from aivailable.controller.mesh import settle, write_intentions, wrong_intentions
from aivailable.errors import UserError
from aivailable.model.fleet import Fleet
from aivailable.model.snapshot import Snapshot
from aivailable.seams import Identity
from tests.samples import card, fleet, model, node

NODES = Snapshot(nodes=(node("node1", card("Tesla T4", 15360, node="node1")), node("gateway")))
WANTED = fleet(model("m"))


@dataclass
class Authority:
    """The mesh of a Consul, on or off."""

    on: bool = True

    def identity(self, service: str) -> Identity:
        return Identity(certificate="", key="", uri=f"spiffe://x/svc/{service}")

    def roots(self) -> str:
        if not self.on:
            raise UserError("Consul's service mesh is off", hint="turn it on")
        return "root"

    def identity_changed(self, service: str, since: int, timeout_s: float) -> int:
        raise AssertionError(service, since, timeout_s)

    def roots_changed(self, since: int, timeout_s: float) -> int:
        raise AssertionError(since, timeout_s)


@dataclass
class Rules:
    """Intentions as Consul decides by them: the closest source wins, without any everybody may."""

    rules: dict[tuple[str, str], bool] = field(default_factory=dict)

    def set(self, source: str, destination: str, *, allow: bool) -> bool:
        changed = self.rules.get((source, destination)) != allow
        self.rules[source, destination] = allow
        return changed

    def allowed(self, source: str, destination: str) -> bool:
        return self.rules.get((source, destination), self.rules.get(("*", destination), True))


@pytest.mark.parametrize(
    ("wanted", "present", "bridge", "settled"),
    [
        (None, None, True, "bridge"),
        (None, None, False, "host"),
        (None, "host", True, "host"),
        (None, "none", True, "none"),
        ("none", "bridge", True, "none"),
        ("host", "bridge", True, "host"),
    ],
)
def test_the_mesh_is_the_wish_else_what_is_else_what_nodes_can(
    wanted: str | None, present: str | None, bridge: bool, settled: str
) -> None:
    nodes = replace(NODES, nodes=tuple(replace(n, bridge=bridge and bool(n.cards)) for n in NODES.nodes))

    assert settle(replace(WANTED, mesh=wanted), Fleet(mesh=present), nodes, Authority()).mesh == settled


def test_a_mesh_that_consul_does_not_have_is_refused_before_anything_is_written() -> None:
    with pytest.raises(UserError, match="mesh is off"):
        settle(WANTED, Fleet(), NODES, Authority(on=False))

    assert settle(replace(WANTED, mesh="none"), Fleet(), NODES, Authority(on=False)).mesh == "none"


@pytest.mark.parametrize("wanted", [None, "bridge", "none"])
def test_one_machine_has_none(wanted: str | None) -> None:
    assert not settle(replace(WANTED, mesh=wanted), Fleet(), NODES, None).meshed


def test_intentions_are_written_once_and_what_is_wrong_is_said() -> None:
    rules = Rules()

    assert wrong_intentions(rules) == ["any service may speak to llm-engine"]
    assert write_intentions(rules)
    assert not write_intentions(rules)
    assert wrong_intentions(rules) == []
    rules.set("llm", "llm-engine", allow=False)
    assert wrong_intentions(rules) == ["llm may not speak to llm-engine"]
