"""Profile x launch -> the VRAM a replica needs on each card, by term.

The terms stand in `weights`, `kvcache`, `vllm_terms` and `llamacpp_terms`, each with its formulas, constants and their
sources; what the estimate may be wrong by in `margin`. docs/vram-accuracy.md scores them on published measurements.
"""

from dataclasses import replace

from aivailable.model.fleet import Engine
from aivailable.model.footprint import Footprint
from aivailable.model.profile import Profile
from aivailable.vram.kvcache import kv_bytes
from aivailable.vram.launch import Launch
from aivailable.vram.llamacpp_terms import compute_bytes
from aivailable.vram.margin import margin_mib
from aivailable.vram.vllm_terms import activation_bytes, graphs_mib, non_torch_mib
from aivailable.vram.weights import weights_bytes

MIB = 1024 * 1024

PROCESS_CONTEXT_MIB = 300
"""Driver and runtime state of one process on a card before it loads anything. General knowledge: 250 to 500 MiB by
driver; the observations do not show it."""


def footprint(profile: Profile, launch: Launch) -> Footprint:
    """The footprint of one replica on one of its cards."""
    vllm = launch.engine is Engine.VLLM
    activation = activation_bytes(profile, launch) if vllm else compute_bytes(profile, launch)
    need = Footprint(
        weights_mib=mib(weights_bytes(profile, launch)),
        kv_mib=mib(kv_bytes(profile, launch)),
        activation_mib=mib(activation),
        graphs_mib=graphs_mib(profile, launch) if vllm else 0,
        context_mib=PROCESS_CONTEXT_MIB + (non_torch_mib(launch) if vllm else 0),
        margin_mib=0,
    )
    return replace(need, margin_mib=margin_mib(profile, launch, need))


def mib(size_bytes: float) -> int:
    """MiB that hold so many bytes."""
    return int(-(-size_bytes // MIB))
