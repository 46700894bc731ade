"""Which engine serves a format, which cards it runs on, in which image, with which flags, and what forbids it.

The rules stand in `data/hardware.toml`, each with its source. They match what a card's driver says (compute
capability, gfx id), never its name, and know nothing of memory: that is `footprint`'s and `fit`'s.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from aivailable.model.cards import Card, Vendor
from aivailable.model.fleet import Engine
from aivailable.model.plan import Requirement
from aivailable.model.profile import Profile, WeightsFormat

SAME_KERNELS = {"w4a16": "gptq"}
"""Methods that run where another does: compressed-tensors' packed 4 bit weights use GPTQ's kernels (vLLM's
compressed_tensors_wNa16.py)."""

RULES = Path(__file__).parent / "data" / "hardware.toml"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an engine does not run on a card: the rule's short name and a sentence.

    `why` is the part of the sentence that holds for every card the rule meets, `instead` says what would run.
    """

    rule: str
    text: str
    source: str = ""
    instead: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Cards by what their driver says; a card matches when it meets all that is given.

    `compute_capability_min` is inclusive, `compute_capability_below` is not. `gfx` None: any. `formats` empty: any.
    """

    engine: Engine
    vendor: Vendor
    compute_capability_min: float = 0.0
    compute_capability_below: float = float("inf")
    gfx: tuple[str, ...] | None = None
    formats: tuple[str, ...] = ()

    def holds(self, card: "Kind") -> bool:
        """Whether a card of this kind is meant, whatever its weights."""
        if card.vendor is Vendor.NVIDIA:
            capability = card.compute_capability
            return capability is not None and (
                self.compute_capability_min <= capability < self.compute_capability_below
            )
        return card.gfx is not None and (self.gfx is None or card.gfx in self.gfx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Match):
    """An entry of the data file that is no platform. `text` is a half sentence for people, `instead` what would run."""

    source: str
    text: str
    instead: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform(Match):
    """A build of an engine in its container image, and the cards it has code for.

    `flags` are needed on every card. `driver_min` is the least major version of the NVIDIA driver, None where any
    driver of the card will do.
    """

    name: str
    image: str
    source: str
    flags: tuple[str, ...] = ()
    driver_min: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorType:
    """What a profile's most common tensor type stands for in models whose architecture begins with `architecture`."""

    type: str
    formats: tuple[str, ...]
    architecture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The whole data file: platforms; cards that none has and why; formats that run on some cards; flags; notes."""

    platforms: tuple[Platform, ...]
    absent: tuple[Rule, ...]
    weights: tuple[Rule, ...]
    flags: tuple[Rule, ...]
    notes: tuple[Rule, ...]
    types: tuple[TensorType, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """All that a rule may ask of a card: many cards are of one kind."""

    vendor: Vendor
    compute_capability: float | None = None
    gfx: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What holds for an engine, formats of weights and a kind of card: `refusal`, or all the other fields.

    `flags` are what this kind of card needs, `notes` what should be known of it.
    """

    platform: Platform | None = None
    flags: tuple[str, ...] = ()
    notes: tuple[Rule, ...] = ()
    refusal: Refusal | None = None


@cache
def rules() -> Rules:
    """The rules of the data file, read once."""
    document = tomllib.loads(RULES.read_text(encoding="utf-8"))
    return Rules(
        platforms=tuple(Platform(**_match(entry)) for entry in document["platform"]),
        absent=_rules(document["absent"]),
        weights=_rules(document["weights"]),
        flags=_rules(document["flags"]),
        notes=_rules(document["note"]),
        types=tuple(TensorType(**{**entry, "formats": tuple(entry["formats"])}) for entry in document["type"]),
    )


def engine_of(profile: Profile) -> Engine:
    """The engine for a format: vLLM for safetensors, llama.cpp for GGUF."""
    return Engine.VLLM if profile.format is WeightsFormat.SAFETENSORS else Engine.LLAMACPP


def formats_of(profile: Profile) -> tuple[str, ...]:
    """The formats that the weights may have; several where the files do not tell.

    GGUF names its quantization in the tensor type, safetensors in the configuration. Where that is silent the most
    common tensor type says how weights are stored: packed 4 bit weights of AWQ and of GPTQ are both `I32`.
    """
    if profile.format is WeightsFormat.GGUF:
        return (profile.weights_type,)
    method = SAME_KERNELS.get(profile.quantization, profile.quantization)
    if any(method in rule.formats for rule in rules().weights):
        return (method,)
    return _formats(profile.weights_type, profile.architecture)


def ruling(engine: Engine, formats: tuple[str, ...], card: Card) -> Ruling:
    """What holds for `engine` with weights of one of `formats` (empty: whatever they are) on a card like this."""
    return _ruling(engine, formats, Kind(card.vendor, card.compute_capability, card.gfx))


def refusal(engine: Engine, profile: Profile, card: Card) -> Refusal | None:
    """Why `engine` cannot run this model on `card`, or None when it can. Kept for each kind of card: 1 us."""
    return ruling(engine, formats_of(profile), card).refusal


def image(engine: Engine, card: Card) -> str:
    """The container image that runs `engine` on `card`; empty where none does."""
    platform = ruling(engine, (), card).platform
    return platform.image if platform else ""


def requirement(engine: Engine, card: Card, claim_mib: int, *, profile: Profile | None = None) -> Requirement:
    """What any card must offer so that Nomad may put the replica there without asking.

    The image and the flags are written into the job, so other cards are fit for it only where the rules give them the
    same ones: a job without `--dtype half` must not land on a card without bf16. With `profile` the rules for its
    weights count as well.
    """
    if card.device_type == "gpu":
        return Requirement(
            vendor=card.vendor, memory_mib=card.total_mib, slice_mib=card.slice_mib, device_type="gpu", model=card.name
        )
    capability, gfx = _alike(
        engine, formats_of(profile) if profile else (), Kind(card.vendor, card.compute_capability, card.gfx)
    )
    return Requirement(
        vendor=card.vendor,
        memory_mib=claim_mib,
        slice_mib=card.slice_mib,
        compute_capability_min=capability,
        gfx=gfx,
    )


def notes(engine: Engine, profile: Profile, card: Card) -> tuple[str, ...]:
    """What a person should know of this engine on this card, and no reason to refuse; half sentences."""
    found = ruling(engine, formats_of(profile), card)
    told = [note.text for note in found.notes]
    if engine is Engine.VLLM and found.platform:
        ruled = {name for rule in rules().weights if rule.engine is engine for name in rule.formats}
        told += [
            f"no rule says on which cards {engine} runs {name} weights"
            for name in formats_of(profile)
            if name not in ruled
        ]
    major = card.driver_version.partition(".")[0]
    if found.platform and found.platform.driver_min and major.isdigit() and int(major) < found.platform.driver_min:
        told.append(f"the image needs NVIDIA driver {found.platform.driver_min}, the node has {card.driver_version}")
    return tuple(told)


@lru_cache(maxsize=4096)
def _formats(weights_type: str, architecture: str) -> tuple[str, ...]:
    for entry in rules().types:
        if entry.type == weights_type and architecture.startswith(entry.architecture):
            return entry.formats
    return (weights_type,)


@lru_cache(maxsize=4096)
def _ruling(engine: Engine, formats: tuple[str, ...], kind: Kind) -> Ruling:
    found = rules()
    platforms = [p for p in found.platforms if p.engine is engine and p.vendor is kind.vendor]
    platform = next((p for p in platforms if p.holds(kind)), None)
    if platform is None:
        return Ruling(refusal=_no_platform(engine, kind, platforms))
    refused = [_no_weights(engine, one, kind) for one in formats]
    if refused and all(refused):
        return Ruling(refusal=refused[0])
    noted = tuple(
        n for n in found.notes if _meant(n, engine, kind) and (not n.formats or set(n.formats) & set(formats))
    )
    needed = tuple(flag for rule in found.flags if _meant(rule, engine, kind) for flag in rule.flags)
    return Ruling(platform=platform, flags=(*platform.flags, *needed), notes=noted)


def _no_platform(engine: Engine, kind: Kind, platforms: list[Platform]) -> Refusal:
    """The refusal for a card that no platform of the engine lists."""
    if not platforms:
        return Refusal("engine", f"{engine} has no build for {kind.vendor} cards")
    if kind.vendor is Vendor.NVIDIA:
        floor = min(p.compute_capability_min for p in platforms)
        if kind.compute_capability is None:
            return Refusal("engine", f"the driver reports no compute capability; {engine} needs {floor}")
        text = f"{engine} needs compute capability {floor}, the card has {kind.compute_capability}"
    elif kind.gfx is None:
        return Refusal("engine", f"the driver reports no gfx id; {engine} runs on {', '.join(platforms[0].gfx or ())}")
    else:
        text = f"{engine} does not run on {kind.gfx}"
    why = next((rule for rule in rules().absent if _meant(rule, engine, kind)), None)
    if why is None:
        return Refusal("engine", f"{text} (no list of supported cards names it)", source=platforms[0].source)
    return Refusal("engine", f"{text} ({why.text})", source=why.source, instead=why.instead, why=why.text)


def _no_weights(engine: Engine, format_name: str, kind: Kind) -> Refusal | None:
    """The refusal for weights that the engine runs on other cards only; None also where no rule is about them."""
    entries = [
        rule
        for rule in rules().weights
        if rule.engine is engine and rule.vendor is kind.vendor and format_name in rule.formats
    ]
    if not entries or any(rule.holds(kind) for rule in entries):
        return None
    told = kind.compute_capability if kind.vendor is Vendor.NVIDIA else kind.gfx
    return Refusal(
        "weights",
        f"{engine} does not run {format_name} weights on {told} ({entries[0].text})",
        source=entries[0].source,
        instead="another quantization, or a GGUF variant under llama.cpp",
        why=f"{engine} runs {format_name} weights on other cards only ({entries[0].text})",
    )


@lru_cache(maxsize=4096)
def _alike(engine: Engine, formats: tuple[str, ...], kind: Kind) -> tuple[float | None, tuple[str, ...]]:
    """The least compute capability, and the gfx ids, whose ruling gives the same image and flags as this kind's."""
    own = _ruling(engine, formats, kind)
    if kind.vendor is not Vendor.NVIDIA:
        ids = own.platform.gfx or () if own.platform else ()
        return None, tuple(gfx for gfx in ids if _same(own, _ruling(engine, formats, Kind(kind.vendor, gfx=gfx))))
    found = rules()
    bounds = {p.compute_capability_min for p in found.platforms if p.engine is engine and p.vendor is kind.vendor}
    for rule in (*found.weights, *found.flags):
        if rule.engine is engine and rule.vendor is kind.vendor:
            bounds |= {rule.compute_capability_min, rule.compute_capability_below}
    capability = kind.compute_capability or 0.0
    least = capability
    for bound in sorted((b for b in bounds if b <= capability), reverse=True):
        if not _same(own, _ruling(engine, formats, Kind(kind.vendor, bound))):
            break
        least = bound
    return least, ()


def _same(one: Ruling, other: Ruling) -> bool:
    return one.platform == other.platform and one.flags == other.flags and other.refusal is None


def _meant(rule: Rule, engine: Engine, kind: Kind) -> bool:
    return rule.engine is engine and rule.vendor is kind.vendor and rule.holds(kind)


def _rules(entries: list[Mapping[str, Any]]) -> tuple[Rule, ...]:
    return tuple(Rule(**_match({"text": "", **entry})) for entry in entries)


def _match(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with TOML's lists as tuples and its words as our own."""
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return {**plain, "engine": Engine(entry["engine"]), "vendor": Vendor(entry["vendor"])}
