"""The rack as people look at it, on the page and in a terminal: cards with their tenants, models, what is missing.

Pure: one frozen document from what was read. What of it a key may see: `page/rights.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aivailable.controller.history import Happened
from aivailable.controller.traffic import Traffic
from aivailable.model.cards import Card, Node
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.plan import Plan
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import given_up, gone_back

_HOLDS_NOTHING = (ReplicaState.LOST, ReplicaState.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One replica on one card. `claim_mib` is booked there; `measured_mib` was seen there, None before it was measured.

    `over`: it holds more than it booked.
    """

    model: str
    replica: int
    state: ReplicaState
    claim_mib: int
    measured_mib: int | None
    note: str = ""

    @property
    def over(self) -> bool:
        """Whether it was seen to hold more than it booked."""
        return self.measured_mib is not None and self.measured_mib > self.claim_mib


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPicture:
    """One card as a bar: tenants, what others booked, what can still be booked, and the rest below one slice.

    The parts (claims, `other_mib`, `free_mib`, `rest_mib`) add up to `total_mib`. `in_use_mib` is what the driver says,
    None where nobody asked it; `foreign_mib` is the part of that which no booking accounts for.
    """

    uuid: str
    index: int
    name: str
    vendor: str
    simulated: bool
    healthy: bool
    total_mib: int
    tenants: tuple[Tenant, ...]
    other_mib: int
    free_mib: int
    rest_mib: int
    in_use_mib: int | None
    foreign_mib: int

    @property
    def booked_mib(self) -> int:
        """What allocations hold of it, ours and others'."""
        return self.total_mib - self.free_mib - self.rest_mib


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePicture:
    """One node. `state`: up, down, silent (Consul does not hear from it), leaving or draining."""

    name: str
    rack: str
    node_class: str
    state: str
    cards: tuple[CardPicture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPicture:
    """One replica of a model: where it is and how it is."""

    replica: int
    state: ReplicaState
    node: str
    cards: tuple[str, ...]
    variant: str
    engine: str
    claim_mib: int
    measured_mib: int | None
    load_s: float | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPicture:
    """One model of the fleet: its replicas, what clients do with it, and in words what is missing and why.

    `condition`: `good` (all replicas serve), `thin` (fewer), `down` (none, or fewer than must stay serving).
    `room` is how many requests its serving replicas hold in VRAM at once.
    """

    name: str
    wanted: int
    serving: int
    condition: str
    room: int
    replicas: tuple[ReplicaPicture, ...]
    traffic: Traffic | None
    missing: tuple[str, ...]

    @property
    def waiting(self) -> int | None:
        """Requests in flight beyond those that its serving replicas hold at once; None while traffic is unknown."""
        return None if self.traffic is None else max(0, self.traffic.in_flight - self.room)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything at one moment; `at_s` is Unix time. `decisions` are the newest, newest first."""

    at_s: float
    simulated: bool
    mesh: str
    nodes: tuple[NodePicture, ...]
    models: tuple[ModelPicture, ...]
    decisions: tuple[Happened, ...] = field(default=())


def picture(
    fleet: Fleet,
    snapshot: Snapshot,
    made: Plan,
    *,
    at_s: float,
    decisions: Iterable[Happened] = (),
    in_use_mib: Mapping[str, int] | None = None,
    traffic: Mapping[str, Traffic] | None = None,
) -> Picture:
    """The picture of a fleet on a rack, with the plan for it.

    Args:
        fleet: What is wanted.
        snapshot: What is.
        made: The plan that follows from both: it says what has no place.
        at_s: When it was seen, Unix time.
        decisions: What happened, oldest first.
        in_use_mib: What drivers say is in use, by card.
        traffic: What gateways counted, by model; None where nobody asked them.
    """
    missing = missing_words(fleet, snapshot, made)
    names = {card.uuid: card.name for node in snapshot.nodes for card in node.cards}
    replicas: dict[str, list[Replica]] = defaultdict(list)
    for replica in sorted(snapshot.replicas, key=lambda r: (r.replica, r.job)):
        replicas[replica.model].append(replica)
    return Picture(
        at_s=at_s,
        simulated=snapshot.simulated,
        mesh=fleet.mesh or "none",
        nodes=rack_picture(snapshot, in_use_mib),
        models=tuple(
            _model(spec, replicas[spec.name], names, traffic, missing.get(spec.name, ())) for spec in fleet.models
        ),
        decisions=tuple(reversed(tuple(decisions))),
    )


def rack_picture(snapshot: Snapshot, in_use_mib: Mapping[str, int] | None = None) -> tuple[NodePicture, ...]:
    """The nodes with their cards and who is on them, with what drivers say is in use, by card."""
    tenants = _tenants(snapshot.replicas)
    return tuple(_node(node, tenants, in_use_mib or {}) for node in snapshot.nodes)


def missing_words(fleet: Fleet, snapshot: Snapshot, made: Plan) -> dict[str, tuple[str, ...]]:
    """By model, what the fleet asks for and does not get, one sentence each.

    No room, a turn to wait for, a version given up.
    """
    found: dict[str, list[str]] = defaultdict(list)
    back = gone_back(fleet, snapshot.failed)
    for model, failures in given_up(fleet, snapshot.failed).items():
        then = "back at the version before" if model in back else "nothing of it can run"
        found[model].append(f"given up, {failures[0].reason}; {then}")
    for unplaced in made.unplaced:
        why = "; ".join(f"{r.text}{on_cards(r.count)}" for r in unplaced.reasons) or "there are no cards"
        found[unplaced.model].append(f"{unplaced.count} not placed: {why}")
        if unplaced.would_help:
            found[unplaced.model].append("would help: " + "; or ".join(unplaced.would_help))
    for later in made.deferred:
        found[later.model].append(f"{later.count} later: {later.why}")
    return {model: tuple(words) for model, words in found.items()}


def on_cards(count: int) -> str:
    """How many cards a rule forbids; nothing for a rule that is about none."""
    return f" ({count} card{'s' if count > 1 else ''})" if count else ""


def _tenants(replicas: Iterable[Replica]) -> dict[str, list[Tenant]]:
    """By card, who is on it, in the order of models and replicas."""
    found: dict[str, list[Tenant]] = defaultdict(list)
    for r in sorted(replicas, key=lambda r: (r.model, r.replica, r.job)):
        for uuid, claim_mib in zip(r.cards, r.claim_mib, strict=False):
            found[uuid].append(
                Tenant(
                    model=r.model,
                    replica=r.replica,
                    state=r.state,
                    claim_mib=claim_mib,
                    measured_mib=r.measured_mib,
                    note=r.note,
                )
            )
    return found


def _node(node: Node, tenants: Mapping[str, list[Tenant]], in_use_mib: Mapping[str, int]) -> NodePicture:
    return NodePicture(
        name=node.name,
        rack=node.rack,
        node_class=node.node_class,
        state=node_state(node),
        cards=tuple(_card(card, tenants.get(card.uuid, ()), in_use_mib.get(card.uuid)) for card in node.cards),
    )


def node_state(node: Node) -> str:
    """How a node is, in one word; see `NodePicture`."""
    if not node.ready:
        return "down"
    if node.silent:
        return "silent"
    if node.leaving:
        return "leaving"
    return "up" if node.eligible else "draining"


def _card(card: Card, tenants: Iterable[Tenant], in_use_mib: int | None) -> CardPicture:
    free_mib, rest_mib = card.free_mib, card.total_mib - card.slices * card.slice_mib
    booked_mib = card.total_mib - free_mib - rest_mib
    shown = _within(tuple(tenants), booked_mib)
    return CardPicture(
        uuid=card.uuid,
        index=card.index,
        name=card.name,
        vendor=card.vendor,
        simulated=card.simulated,
        healthy=card.healthy,
        total_mib=card.total_mib,
        tenants=shown,
        other_mib=booked_mib - sum(tenant.claim_mib for tenant in shown),
        free_mib=free_mib,
        rest_mib=rest_mib,
        in_use_mib=in_use_mib,
        foreign_mib=card.foreign_mib,
    )


def _within(tenants: tuple[Tenant, ...], booked_mib: int) -> tuple[Tenant, ...]:
    """The tenants that hold what the ledger knows: those of a lost node, or that wait for a place, hold nothing."""
    surest = sorted(range(len(tenants)), key=lambda number: tenants[number].state in _HOLDS_NOTHING)
    while sum(tenants[number].claim_mib for number in surest) > booked_mib:
        surest.pop()
    return tuple(tenants[number] for number in sorted(surest))


def _model(
    spec: ModelSpec,
    mine: Sequence[Replica],
    names: Mapping[str, str],
    traffic: Mapping[str, Traffic] | None,
    missing: tuple[str, ...],
) -> ModelPicture:
    serving = sum(r.state is ReplicaState.SERVING for r in mine)
    return ModelPicture(
        name=spec.name,
        wanted=spec.replicas,
        serving=serving,
        condition=condition(spec, serving),
        room=serving * spec.concurrency,
        replicas=tuple(_replica(r, names) for r in mine),
        traffic=None if traffic is None else traffic.get(spec.name, Traffic()),
        missing=missing,
    )


def condition(spec: ModelSpec, serving: int) -> str:
    """How a model is with that many replicas serving; see `ModelPicture`."""
    if serving >= spec.replicas:
        return "good"
    return "thin" if serving >= max(1, spec.kept_serving) else "down"


def _replica(replica: Replica, names: Mapping[str, str]) -> ReplicaPicture:
    return ReplicaPicture(
        replica=replica.replica,
        state=replica.state,
        node=replica.node,
        cards=tuple(names[uuid] for uuid in replica.cards if uuid in names),
        variant=replica.variant,
        engine=replica.engine,
        claim_mib=sum(replica.claim_mib),
        measured_mib=replica.measured_mib,
        load_s=replica.load_s,
        note=replica.note,
    )
