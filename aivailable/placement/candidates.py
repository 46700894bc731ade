"""For one model: every pair of variant and card, as a candidate or as a refusal with its rule.

The rules stand in the order in which they are tried; the first that forbids a card is the one that is told.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from aivailable.model.cards import Card, Node
from aivailable.model.fleet import Engine, Fleet, ModelSpec, Profile, Variant
from aivailable.model.footprint import Footprint
from aivailable.model.plan import Placement
from aivailable.model.replica import Replica, ReplicaSpec
from aivailable.model.snapshot import Snapshot
from aivailable.placement.ledger import Ledger
from aivailable.vram.flags import engine_flags
from aivailable.vram.footprint import footprint
from aivailable.vram.support import engine_of, image, refusal, requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A card that can take a variant now.

    `order` is the variant's place in the model's list, `hole_mib` what stays free on the card.
    """

    order: int
    variant: Variant
    profile: Profile
    engine: Engine
    node: Node
    card: Card
    footprint: Footprint
    hole_mib: int

    @property
    def cached(self) -> bool:
        """Whether the node has the variant's files already."""
        return self.variant.resolved is not None and self.variant.resolved.sha256 in self.node.cached


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A card that cannot take a variant: the rule, the sentence, and the MiB it is short (0: not about memory)."""

    rule: str
    text: str
    node: Node
    card: Card
    variant: Variant
    profile: Profile | None = None
    short_mib: int = 0


def candidates(
    fleet: Fleet, model: ModelSpec, snapshot: Snapshot, ledger: Ledger
) -> tuple[list[Candidate], list[Refused]]:
    """All cards for all variants of `model`: those that can take it now, and why the others cannot."""
    found: list[Candidate] = []
    refused: list[Refused] = []
    for order, variant in enumerate(model.variants):
        for node in snapshot.nodes:
            for card in node.cards:
                outcome = _judge(fleet, model, order, variant, node, card, ledger)
                if isinstance(outcome, Candidate):
                    found.append(outcome)
                else:
                    refused.append(outcome)
    return found, refused


def spec_for(fleet: Fleet, model: ModelSpec, variant: Variant, engine: Engine, *, simulated: bool) -> ReplicaSpec:
    """What a replica of this variant is asked to be.

    Without a `[cluster]` section a simulated rack runs plain processes and a real one containers, both without mesh.
    """
    return ReplicaSpec(
        model=model.name,
        variant=variant,
        engine=engine,
        context=model.context,
        concurrency=model.concurrency,
        driver=_driver(fleet, simulated=simulated),
        mesh=fleet.mesh or "none",
        simulated=simulated,
    )


def spec_hashes(fleet: Fleet, model: ModelSpec) -> frozenset[str]:
    """The spec hashes a replica of this model may carry and still be what the fleet asks for."""
    return frozenset(
        spec_for(fleet, model, variant, engine_of(variant.resolved.profile), simulated=simulated).hash8
        for variant in model.variants
        if variant.resolved
        for simulated in (False, True)
    )


def observed(fleet: Fleet, model: ModelSpec, replica: Replica, snapshot: Snapshot) -> Placement | None:
    """The placement that a running replica amounts to; None where its node, card or variant is not known."""
    node, variant = snapshot.node(replica.node), next((v for v in model.variants if v.source == replica.variant), None)
    card = snapshot.card(replica.cards[0]) if replica.cards else None
    if node is None or card is None or variant is None or variant.resolved is None:
        return None
    profile = variant.resolved.profile
    engine = engine_of(profile)
    need = footprint(profile, engine=engine, card=card, context=model.context, concurrency=model.concurrency)
    candidate = Candidate(
        order=model.variants.index(variant),
        variant=variant,
        profile=profile,
        engine=engine,
        node=node,
        card=card,
        footprint=need,
        hole_mib=0,
    )
    as_booked = tuple(card.slices_for(claim_mib) for claim_mib in replica.claim_mib)
    return replace(place(fleet, model, candidate, replica.replica), slices=as_booked, claim_mib=replica.claim_mib)


def place(fleet: Fleet, model: ModelSpec, candidate: Candidate, replica: int) -> Placement:
    """The placement of replica number `replica` on a candidate."""
    card, claim_mib = candidate.card, candidate.footprint.claim_mib
    slices = card.slices_for(claim_mib)
    return Placement(
        spec=spec_for(fleet, model, candidate.variant, candidate.engine, simulated=card.simulated),
        replica=replica,
        node=candidate.node.name,
        node_id=candidate.node.id,
        cards=(card.uuid,),
        slices=(slices,),
        claim_mib=(slices * card.slice_mib,),
        footprint=candidate.footprint,
        requirement=requirement(candidate.engine, card, slices * card.slice_mib),
        flags=engine_flags(
            candidate.profile,
            engine=candidate.engine,
            card=card,
            context=model.context,
            concurrency=model.concurrency,
            footprint=candidate.footprint,
            extra=candidate.variant.flags,
        ),
        image=image(candidate.engine, card),
        priority=model.priority,
    )


def _driver(fleet: Fleet, *, simulated: bool) -> str:
    return fleet.driver or ("raw_exec" if simulated else "docker")


def _judge(
    fleet: Fleet, model: ModelSpec, order: int, variant: Variant, node: Node, card: Card, ledger: Ledger
) -> Candidate | Refused:
    profile = variant.resolved.profile if variant.resolved else None

    def refuse(rule: str, text: str, short_mib: int = 0) -> Refused:
        return Refused(
            rule=rule, text=text, node=node, card=card, variant=variant, profile=profile, short_mib=short_mib
        )

    if profile is None:
        return refuse("source", f"{variant.source} is not resolved: its size is unknown")
    if model.context > profile.context_limit:
        return refuse("context", f"context {model.context} is more than the {profile.context_limit} it was made for")
    if why := _standing_rule(fleet, model, node, card):
        return refuse(*why)
    engine = engine_of(profile)
    if unfit := refusal(engine, profile, card):
        return refuse(unfit.rule, unfit.text)
    need = footprint(profile, engine=engine, card=card, context=model.context, concurrency=model.concurrency)
    claim_mib = card.slices_for(need.claim_mib) * card.slice_mib
    whole_mib = card.slices * card.slice_mib
    if claim_mib > whole_mib:
        return refuse("card size", f"needs {claim_mib} MiB, more than the whole card has", claim_mib - whole_mib)
    free_mib = ledger.free_mib(card)
    if claim_mib > free_mib:
        return refuse("free memory", f"needs {claim_mib} MiB, more than is free on the card", claim_mib - free_mib)
    return Candidate(
        order=order,
        variant=variant,
        profile=profile,
        engine=engine,
        node=node,
        card=card,
        footprint=need,
        hole_mib=free_mib - claim_mib,
    )


def _standing_rule(fleet: Fleet, model: ModelSpec, node: Node, card: Card) -> tuple[str, str] | None:
    """The rule of node, card or fleet that forbids the card whatever the model's size, or None."""
    where, driver = model.where, _driver(fleet, simulated=card.simulated)
    if not node.ready:
        return "node", "the node is down"
    if not node.eligible:
        return "node", "the node is draining"
    if "+" in node.vendor_plugin:
        return "plugin", f"the node has two device plugins ({node.vendor_plugin}) that would book its cards twice"
    if not card.healthy:
        return "health", "the card is unhealthy"
    if node.drivers and driver not in node.drivers:
        return "driver", f"the node has no healthy task driver `{driver}`"
    if where.vendor and where.vendor != card.vendor:
        return "where", f"`where` asks for vendor = {where.vendor}"
    if where.node_class and where.node_class != node.node_class:
        return "where", f"`where` asks for class = {where.node_class}"
    if where.card and not fnmatchcase(card.name.lower(), where.card.lower()):
        return "where", f"`where` asks for card = {where.card}"
    return None
