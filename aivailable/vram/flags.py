"""The flags an engine is started with, so that it holds what its footprint says."""

import math

from aivailable.model.cards import Card, Vendor
from aivailable.model.fleet import Engine, Profile
from aivailable.model.footprint import Footprint
from aivailable.vram.footprint import MIB

BF16_COMPUTE_CAPABILITY = 8.0
"""NVIDIA cards below compute no bf16; vLLM refuses to start there unless told to use fp16."""

VLLM_SHUTDOWN_TIMEOUT_S = 20
"""How long vLLM finishes requests after SIGTERM; must be shorter than the job's kill_timeout, because a stream that
outlives it hangs until the process is killed."""

ALL_LAYERS = 999


def engine_flags(
    profile: Profile,
    *,
    engine: Engine,
    card: Card,
    context: int,
    concurrency: int,
    footprint: Footprint,
    extra: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """All flags but address, port, model path and name; `extra` (the user's) come last.

    vLLM is told both the bytes of its KV cache and the share of the card it may take (whole slices over the driver's
    total, rounded down to three digits), because its start-up check of free memory still uses the share.
    """
    del profile
    if engine is Engine.LLAMACPP:
        offload = ("--simulated",) if card.simulated else ("-ngl", str(ALL_LAYERS))
        return ("-c", str(context * concurrency), "-np", str(concurrency), "--metrics", *offload, *extra)
    booked_mib = card.slices_for(footprint.claim_mib) * card.slice_mib
    share = math.floor(1000 * booked_mib / card.total_mib) / 1000
    needs_fp16 = card.vendor is Vendor.NVIDIA and (card.compute_capability or 0) < BF16_COMPUTE_CAPABILITY
    return (
        *("--max-model-len", str(context)),
        *("--max-num-seqs", str(concurrency)),
        *("--kv-cache-memory-bytes", str(footprint.kv_mib * MIB)),
        *("--gpu-memory-utilization", f"{min(share, 0.999):.3f}"),
        *(("--dtype", "half") if needs_fp16 else ()),
        *("--shutdown-timeout", str(VLLM_SHUTDOWN_TIMEOUT_S)),
        *extra,
    )
