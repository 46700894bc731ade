"""What one variant of a model needs on one card, or the rule that keeps it away. The planner asks nobody else."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aivailable.model.cards import Card
from aivailable.model.fleet import Engine, ModelSpec, Variant
from aivailable.model.footprint import Footprint
from aivailable.model.measurement import Measurement
from aivailable.model.plan import Requirement
from aivailable.vram.fit import Verdict, degrees, judge
from aivailable.vram.flags import engine_flags
from aivailable.vram.hardware import image, requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a replica takes: `slices` of each of `cards` equal cards of one node. `footprint` is that of one card.

    `alone_mib` is what it would need on one card, where several are needed because that is more than one has.
    """

    engine: Engine
    slices: int
    footprint: Footprint
    cards: int = 1
    alone_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """The rule that keeps a variant away from a card, as a sentence; MiB needed and short where it is memory."""

    rule: str
    text: str
    short_mib: int = 0
    need_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """How the engine is started on such a card, and what Nomad must know to find another of its kind."""

    flags: tuple[str, ...]
    image: str
    requirement: Requirement


class Judge(Protocol):
    """Knows engines and cards. Its answers depend on nothing but the arguments: they are kept and used again."""

    def need(self, model: ModelSpec, variant: Variant, card: Card) -> Need | No:
        """What `variant` takes of a card like this, or why it cannot run there. How full the card is does not count."""

    def equipment(self, model: ModelSpec, variant: Variant, need: Need, card: Card) -> Equipment:
        """How a replica with this need is started on a card like this."""


class VramJudge:
    """The judge of the product: engines' hardware rules and footprints, with what was measured in them."""

    def __init__(self, measured: Iterable[Measurement] = ()) -> None:
        self._measured: dict[str, list[Measurement]] = defaultdict(list)
        for measurement in measured:
            self._measured[measurement.conditions.sha256].append(measurement)

    def need(self, model: ModelSpec, variant: Variant, card: Card) -> Need | No:
        """The footprint on one card, else on as few as hold it by tensor parallel; or what forbids the card."""
        if variant.resolved is None:
            return No(rule="source", text=f"{variant.source} is not resolved: its size is unknown")
        profile = variant.resolved.profile
        measured = self._measured.get(variant.resolved.sha256, ())
        alone_mib = 0
        for cards in (1, *degrees(profile)):
            found = judge(profile, card, model.context, model.concurrency, cards, variant.flags, measured)
            if found.verdict is Verdict.FITS and found.footprint is not None:
                return Need(
                    engine=found.engine,
                    slices=found.slices,
                    footprint=found.footprint,
                    cards=cards,
                    alone_mib=alone_mib,
                )
            if found.verdict is Verdict.UNSUPPORTED:
                return No(rule=found.rule, text=found.reason)
            alone_mib = alone_mib or found.need_mib
        return No(
            rule="card size",
            text=f"needs {alone_mib} MiB, more than the whole card has",
            short_mib=alone_mib - card.slices * card.slice_mib,
            need_mib=alone_mib,
        )

    def equipment(self, model: ModelSpec, variant: Variant, need: Need, card: Card) -> Equipment:
        """Flags, image and constraints by the tables of `vram`."""
        if variant.resolved is None:
            raise AssertionError("what has a need has been resolved")
        parallel = ("--tensor-parallel-size", str(need.cards)) if need.cards > 1 else ()
        flags = engine_flags(
            variant.resolved.profile,
            engine=need.engine,
            card=card,
            context=model.context,
            concurrency=model.concurrency,
            footprint=need.footprint,
            extra=(*parallel, *variant.flags),
        )
        return Equipment(
            flags=flags,
            image=image(need.engine, card),
            requirement=requirement(need.engine, card, need.slices * card.slice_mib, profile=variant.resolved.profile),
        )
