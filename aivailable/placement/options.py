"""For one model: what each of its variants needs on each kind of card, in order of preference, or what forbids it."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from aivailable.model.cards import Card, Node
from aivailable.model.fleet import Engine, Fleet, ModelSpec, Variant
from aivailable.model.footprint import Footprint
from aivailable.model.plan import Placement
from aivailable.model.replica import Replica, ReplicaSpec, ReplicaState
from aivailable.placement.judge import Equipment, Judge, Need, No
from aivailable.placement.kinds import WHERE, Kinds, driver_of, rule_of_model
from aivailable.vram.hardware import engine_of

_UNKNOWN = Footprint(weights_mib=0, kv_mib=0, activation_mib=0, graphs_mib=0, context_mib=0, margin_mib=0)


class Option(NamedTuple):
    """One variant (its place in the model's list) on one kind of card: `slices` on each of `cards` equal cards.

    `need` is None for what runs already, as it was booked.
    """

    order: int
    kind: int
    slices: int
    cards: int
    need: Need | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A variant that cannot run on a kind of card."""

    order: int
    kind: int
    no: No


class Options:
    """Worked out once for a model and the kinds of cards known; told of new kinds, it learns those.

    `by_variant` has the options of each variant, `refused` what cannot be; `least_mib` is the smallest claim of all.
    """

    def __init__(self, fleet: Fleet, spec: ModelSpec, judge: Judge, kinds: Kinds) -> None:
        self.spec = spec
        self.common = (fleet.mesh, fleet.driver)
        self.by_variant: tuple[list[Option], ...] = tuple([] for _ in spec.variants)
        self.refused: list[Refusal] = []
        self.sha256 = [v.resolved.sha256 if v.resolved else "" for v in spec.variants]
        self._fleet, self._judge, self._kinds = Fleet(mesh=fleet.mesh, driver=fleet.driver), judge, kinds
        self._judged = 0
        self.least_mib = 0
        self._specs: dict[tuple[int, Engine, bool], ReplicaSpec] = {}
        self._equipment: dict[tuple[int, int, Need], Equipment] = {}
        self._needs: dict[tuple[int, int], Need | No] = {}
        self._hashes: frozenset[str] | None = None
        self._misplaced: dict[int, str] = {}

    def learn(self) -> None:
        """Judge the kinds that are new since the last time."""
        for number in range(self._judged, len(self._kinds.all)):
            kind = self._kinds.all[number]
            no = kind.rule or rule_of_model(self._fleet, self.spec, kind)
            for order, variant in enumerate(self.spec.variants):
                answer = no or self._judge.need(self.spec, variant, kind.card)
                if isinstance(answer, No):
                    self.refused.append(Refusal(order, number, answer))
                else:
                    self.by_variant[order].append(Option(order, number, answer.slices, answer.cards, answer))
        if self._judged < len(self._kinds.all):
            mib_of = [kind.slice_mib for kind in self._kinds.all]
            self.least_mib = min(
                (o.slices * o.cards * mib_of[o.kind] for group in self.by_variant for o in group), default=0
            )
        self._judged = len(self._kinds.all)

    def misplaced(self, kind: int) -> str:
        """Why a replica of this model should not be on a card of that kind, by its `where`; empty where it may."""
        if kind not in self._misplaced:
            no = rule_of_model(self._fleet, self.spec, self._kinds.all[kind])
            self._misplaced[kind] = no.text if no is not None and no.rule == WHERE else ""
        return self._misplaced[kind]

    def hashes(self) -> frozenset[str]:
        """The spec hashes a replica of this model may carry and still be what the fleet asks for."""
        if self._hashes is None:
            self._hashes = frozenset(
                self.spec_of(order, engine_of(variant.resolved.profile), simulated=simulated).hash8
                for order, variant in enumerate(self.spec.variants)
                if variant.resolved
                for simulated in (False, True)
            )
        return self._hashes

    def spec_of(self, order: int, engine: Engine, *, simulated: bool) -> ReplicaSpec:
        """What a replica of this variant is asked to be."""
        key = (order, engine, simulated)
        if key not in self._specs:
            self._specs[key] = replica_spec(self._fleet, self.spec, order, engine, simulated=simulated)
        return self._specs[key]

    def place(self, option: Option, node: Node, cards: tuple[Card, ...], number: int) -> Placement:
        """The placement of replica `number` on these cards."""
        card, need = cards[0], option.need
        if need is None:
            raise AssertionError("what runs already is not placed")
        key = (option.order, option.kind, need)
        equipment = self._equipment.get(key)
        if equipment is None:
            variant = self.spec.variants[option.order]
            equipment = self._equipment[key] = self._judge.equipment(self.spec, variant, need, card)
        return Placement(
            spec=self.spec_of(option.order, need.engine, simulated=card.simulated),
            replica=number,
            node=node.name,
            node_id=node.id,
            cards=tuple(c.uuid for c in cards),
            slices=(option.slices,) * option.cards,
            claim_mib=(option.slices * card.slice_mib,) * option.cards,
            footprint=need.footprint,
            requirement=equipment.requirement,
            flags=equipment.flags,
            image=equipment.image,
            priority=self.spec.priority,
            indexes=tuple(c.index for c in cards),
        )

    def as_running(self, replica: Replica, node: Node, cards: tuple[Card, ...]) -> Placement | None:
        """The placement that a running replica amounts to, claims as booked; None: its variant is not known."""
        order = self.order_of(replica)
        if order is None:
            return None
        card, variant = cards[0], self.spec.variants[order]
        kind = self._kinds.number(node, card)
        answer = self._needs.get((order, kind))
        if answer is None:
            answer = self._needs[order, kind] = self._judge.need(self.spec, variant, card)
        need = answer if isinstance(answer, Need) else _as_booked(variant, replica, card)
        option = Option(order, kind, card.slices_for(replica.claim_mib[0]), len(cards), need)
        placement = self.place(option, node, cards, replica.replica)
        as_booked = tuple(c.slices_for(mib) for c, mib in zip(cards, replica.claim_mib, strict=True))
        return replace(placement, slices=as_booked, claim_mib=replica.claim_mib, replaces=replica.replaces)

    def overdrawn(self, replica: Replica, card: Card) -> bool:
        """Whether a serving replica holds more than it booked, and would book more if it were started today.

        Both: a measurement that is not believed raises no claim, and a better estimate alone restarts nothing.
        """
        order = self.order_of(replica)
        if order is None or replica.state is not ReplicaState.SERVING or not replica.claim_mib:
            return False
        if replica.measured_mib is None or replica.measured_mib <= replica.claim_mib[0]:
            return False
        answer = self._judge.need(self.spec, self.spec.variants[order], card)
        return isinstance(answer, Need) and answer.slices * card.slice_mib > replica.claim_mib[0]

    def order_of(self, replica: Replica) -> int | None:
        """Which of the model's variants a replica runs, or None."""
        for order, variant in enumerate(self.spec.variants):
            if variant.source == replica.variant and variant.resolved:
                return order
        return None


def replica_spec(fleet: Fleet, spec: ModelSpec, order: int, engine: Engine, *, simulated: bool) -> ReplicaSpec:
    """What a replica of variant number `order` of a model is asked to be.

    Without a `[cluster]` section a simulated rack runs plain processes and a real one containers. The mesh is settled
    when a fleet is written; one that was written without stays without.
    """
    return ReplicaSpec(
        model=spec.name,
        variant=spec.variants[order],
        engine=engine,
        context=spec.context,
        concurrency=spec.concurrency,
        driver=driver_of(fleet, simulated=simulated),
        mesh=fleet.mesh or "none",
        simulated=simulated,
        attempt=spec.attempt,
    )


def _as_booked(variant: Variant, replica: Replica, card: Card) -> Need:
    """What runs where it would not be started today: no footprint, the claim as it was booked."""
    if variant.resolved is None:
        raise AssertionError("a replica runs a resolved variant")
    return Need(
        engine=engine_of(variant.resolved.profile),
        slices=card.slices_for(replica.claim_mib[0]),
        footprint=replace(_UNKNOWN, weights_mib=replica.claim_mib[0]),
        cards=len(replica.cards),
    )
