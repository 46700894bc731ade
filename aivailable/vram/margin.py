"""What an estimate may be wrong by, part by part: the claim is the estimate plus this.

Each part covers the upper errors of the observations (docs/vram-accuracy.md) and no more: a claim that is too low ends
an engine, one that is too high leaves a card half empty. Measured replicas get a smaller one (`measured`).
"""

from aivailable.model.fleet import Engine
from aivailable.model.footprint import Footprint
from aivailable.model.profile import Profile
from aivailable.vram.launch import Launch
from aivailable.vram.vllm_terms import WHOLE_DEVICE_BEFORE, non_torch_mib

WEIGHTS_SHARE = 0.01
"""Weights that vLLM loads as they are stored: p90 of the bf16 observations is 0.9 %."""

REPACKED_SHARE = 0.03
REPACKED = ("awq", "gptq", "bitsandbytes", "mxfp4", "nvfp4")
"""Formats that vLLM unpacks or pads for its kernels: 1 to 3 % for most observations."""

GGUF_SHARE = 0.005
"""llama.cpp maps tensors as they are stored (0.02 % median error, 33 observations); alignment is the rest."""

ACTIVATION_SHARE = 0.15
"""vLLM's activation peak: the observations whose flags are known are low by 4 % at most, without the terms that no log
shows (LoRA, prompt log-probabilities)."""

TOWER_SHARE = 0.10
"""More of it for models with an encoder: a profile run of Llama 3.2 Vision (vllm#12126: 36.6 GiB) is 15 % above the
term."""

OTHER_MIB = 350
OTHER_PARALLEL_MIB = 450
"""What vLLM holds that no term explains, on one card and on several: observations from 0.7 on lie up to 0.6 GiB above
the terms, of which the shares above cover the rest."""

WHOLE_DEVICE_SHARE = 0.5
"""Before 0.7 vLLM counted whatever else the device held: observations spread by that much about the median."""

GRAPHS_MIB = 200
"""Graphs vary most from version to version: as much again as expected, and no less than this."""

COMPUTE_SHARE = 0.10
LLAMACPP_OTHER_MIB = 160
"""llama.cpp: what builds differ by in their compute buffer, and cuBLAS's workspace and the spread of the driver's
context (general knowledge: 32 MiB and 100 MiB)."""


def margin_mib(profile: Profile, launch: Launch, need: Footprint) -> int:
    """MiB on one card, for the terms of `need`; the KV cache has none: its bytes are given to the engine."""
    if launch.engine is Engine.LLAMACPP:
        shares = GGUF_SHARE * need.weights_mib + COMPUTE_SHARE * need.activation_mib
        return round(shares) + other_mib(launch.engine, launch.cards)
    graphs = max(GRAPHS_MIB, need.graphs_mib) if need.graphs_mib else 0
    return round(vllm_budget_margin_mib(profile, launch, need.weights_mib, need.activation_mib)) + graphs


def vllm_budget_margin_mib(profile: Profile, launch: Launch, weights_mib: float, activation_mib: float) -> float:
    """The margin of what vLLM counts in its own budget: all but graphs and the driver's context."""
    activation_share = ACTIVATION_SHARE + (TOWER_SHARE if profile.tower else 0.0)
    other = other_mib(launch.engine, launch.cards)
    if launch.version < WHOLE_DEVICE_BEFORE:
        other += round(WHOLE_DEVICE_SHARE * non_torch_mib(launch))
    return weights_share(profile) * weights_mib + activation_share * activation_mib + other


def other_mib(engine: Engine, cards: int) -> int:
    """MiB for what no term names and no log of an engine tells: only the driver knows it."""
    if engine is Engine.LLAMACPP:
        return LLAMACPP_OTHER_MIB
    return OTHER_PARALLEL_MIB if cards > 1 else OTHER_MIB


def weights_share(profile: Profile) -> float:
    """By how much vLLM's weights may exceed their term."""
    return REPACKED_SHARE if profile.quantization in REPACKED else WEIGHTS_SHARE
