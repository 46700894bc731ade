"""Which engine serves a format, which cards it runs on, in which image, and the constraints that follow.

The lists are what the engines' own documents and build files said in November 2026.
"""

from dataclasses import dataclass

from aivailable.model.cards import Card, Vendor
from aivailable.model.fleet import Engine, Profile, WeightsFormat
from aivailable.model.plan import Requirement

COMPUTE_CAPABILITY_MIN = {Engine.VLLM: 7.5, Engine.LLAMACPP: 5.0}
"""vLLM: installation page since v0.21. llama.cpp: floor of CUDA 12, which the `server-cuda` image is built with."""

VLLM_GFX = ("gfx90a", "gfx942", "gfx950", "gfx1100", "gfx1101", "gfx1150", "gfx1151", "gfx1200", "gfx1201")
"""What vLLM's ROCm installation page names. Its build file lists more (gfx906, gfx1030); Triton does not run there."""

LLAMACPP_ROCM_GFX = (
    *("gfx908", "gfx90a", "gfx942", "gfx950", "gfx1010", "gfx1011", "gfx1012"),
    *("gfx1030", "gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"),
    *("gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153", "gfx1200", "gfx1201"),
)
"""Targets of llama.cpp's `server-rocm` image (ROCm 7.14)."""

LLAMACPP_VULKAN_GFX = ("gfx803", "gfx900", "gfx906")
"""What ROCm dropped and the `server-vulkan` image still serves (RX 470..590, Vega, MI50 reported working)."""

IMAGES = {
    (Engine.VLLM, "cuda"): "vllm/vllm-openai:v0.32.0",
    (Engine.VLLM, "rocm"): "vllm/vllm-openai-rocm:v0.32.0",
    (Engine.LLAMACPP, "cuda"): "ghcr.io/ggml-org/llama.cpp:server-cuda",
    (Engine.LLAMACPP, "rocm"): "ghcr.io/ggml-org/llama.cpp:server-rocm",
    (Engine.LLAMACPP, "vulkan"): "ghcr.io/ggml-org/llama.cpp:server-vulkan",
}
"""Container images by engine and platform. Never `server-cuda13`: CUDA 13 has no code for cards below 7.5."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an engine does not run on a card: the rule's short name and a sentence."""

    rule: str
    text: str


def engine_of(profile: Profile) -> Engine:
    """The engine for a format: vLLM for safetensors, llama.cpp for GGUF."""
    return Engine.VLLM if profile.format is WeightsFormat.SAFETENSORS else Engine.LLAMACPP


def refusal(engine: Engine, profile: Profile, card: Card) -> Refusal | None:
    """Why `engine` cannot run on `card`, or None when it can."""
    del profile
    if card.vendor is Vendor.NVIDIA:
        floor = COMPUTE_CAPABILITY_MIN[engine]
        if card.compute_capability is None:
            return Refusal("engine", f"the driver reports no compute capability; {engine} needs {floor}")
        if card.compute_capability < floor:
            return Refusal(
                "engine", f"{engine} needs compute capability {floor}, the card has {card.compute_capability}"
            )
        return None
    supported = _gfx(engine, card)
    if card.gfx not in supported:
        return Refusal("engine", f"{engine} does not run on {card.gfx or 'a card without gfx id'}")
    return None


def requirement(engine: Engine, card: Card, claim_mib: int) -> Requirement:
    """What any card must offer so that Nomad may put the replica there without asking: the like of `card`."""
    nvidia = card.vendor is Vendor.NVIDIA
    if card.device_type == "gpu":
        return Requirement(
            vendor=card.vendor, memory_mib=card.total_mib, slice_mib=card.slice_mib, device_type="gpu", model=card.name
        )
    return Requirement(
        vendor=card.vendor,
        memory_mib=claim_mib,
        slice_mib=card.slice_mib,
        compute_capability_min=COMPUTE_CAPABILITY_MIN[engine] if nvidia else None,
        gfx=() if nvidia else _gfx(engine, card),
    )


def image(engine: Engine, card: Card) -> str:
    """The container image that runs `engine` on `card`."""
    if card.vendor is Vendor.NVIDIA:
        return IMAGES[engine, "cuda"]
    dropped = engine is Engine.LLAMACPP and card.gfx in LLAMACPP_VULKAN_GFX
    return IMAGES[engine, "vulkan" if dropped else "rocm"]


def _gfx(engine: Engine, card: Card) -> tuple[str, ...]:
    """The gfx ids served by the image that would run on this card."""
    if engine is Engine.VLLM:
        return VLLM_GFX
    return LLAMACPP_VULKAN_GFX if card.gfx in LLAMACPP_VULKAN_GFX else LLAMACPP_ROCM_GFX
