"""Plain objects that tests build on: cards with driver-true numbers, profiles, a small rack."""

from dataclasses import replace

from aivailable.model.cards import Card, Node, Vendor
from aivailable.model.fleet import Fleet, ModelSpec, Resolved, Variant
from aivailable.model.profile import Profile, WeightsFormat
from aivailable.model.snapshot import Snapshot


def card(name: str, total_mib: int, *, node: str, index: int = 0, **facts: object) -> Card:
    """A free card; NVIDIA 7.5 unless the facts say otherwise."""
    vendor = Vendor.AMD if "gfx" in facts else Vendor.NVIDIA
    base = Card(
        uuid=f"GPU-{node}-{index}",
        index=index,
        vendor=vendor,
        name=name,
        total_mib=total_mib,
        compute_capability=None if vendor is Vendor.AMD else 7.5,
    )
    changed = replace(base, **facts)  # type: ignore[arg-type] # facts are Card's own fields
    return changed if "free_slices" in facts else replace(changed, free_slices=changed.slices)


def node(name: str, *cards: Card, **facts: object) -> Node:
    """A ready node."""
    return replace(Node(id=f"id-{name}", name=name, cards=cards), **facts)  # type: ignore[arg-type] # Node's own fields


def rack(*, simulated: bool = True) -> Snapshot:
    """The demo's mixed rack, empty."""
    gtx = {"compute_capability": 6.1, "simulated": simulated}
    return Snapshot(
        nodes=(
            node(
                "node1",
                card("NVIDIA GeForce RTX 2080 Ti", 11264, node="node1", simulated=simulated),
                card("Tesla T4", 15360, node="node1", index=1, simulated=simulated),
            ),
            node(
                "node2",
                card("NVIDIA GeForce GTX 1080", 8192, node="node2", **gtx),
                card("NVIDIA GeForce GTX 1080", 8192, node="node2", index=1, **gtx),
            ),
            node("node3", card("AMD Instinct MI60 / MI50", 16368, node="node3", gfx="gfx906", simulated=simulated)),
        )
    )


SMALL = Profile(
    format=WeightsFormat.GGUF,
    architecture="llama",
    weights_bytes=90_000_000,
    input_embedding_bytes=0,
    layers=30,
    hidden_size=576,
    heads=9,
    kv_heads=3,
    key_size=64,
    value_size=64,
    vocabulary=49152,
    context_limit=8192,
    weights_type="Q4_1",
)
"""About SmolLM2-135M-Instruct."""

EIGHT_B = Profile(
    format=WeightsFormat.SAFETENSORS,
    architecture="Qwen3ForCausalLM",
    weights_bytes=16_381_470_720,
    input_embedding_bytes=0,
    layers=36,
    hidden_size=4096,
    heads=32,
    kv_heads=8,
    key_size=128,
    value_size=128,
    vocabulary=151936,
    context_limit=40960,
    weights_type="BF16",
)
"""About Qwen3-8B in bf16."""


def variant(profile: Profile, source: str = "/models/m.gguf", **facts: object) -> Variant:
    """A resolved variant."""
    resolved = Resolved(revision="", sha256="0" * 64, profile=profile, path=source)
    return replace(Variant(source=source, resolved=resolved), **facts)  # type: ignore[arg-type] # Variant's own fields


def model(name: str = "m", profile: Profile = SMALL, **facts: object) -> ModelSpec:
    """A model with one resolved variant."""
    base = ModelSpec(name=name, variants=(variant(profile),), context=2048, concurrency=4)
    return replace(base, **facts)  # type: ignore[arg-type] # ModelSpec's own fields


def fleet(*models: ModelSpec, **facts: object) -> Fleet:
    """A fleet of these models."""
    return replace(Fleet(models=models), **facts)  # type: ignore[arg-type] # Fleet's own fields
