"""The flags an engine is started with, so that it holds what its footprint says."""

import math

from aivailable.model.cards import Card
from aivailable.model.fleet import Engine
from aivailable.model.footprint import Footprint
from aivailable.model.profile import Profile
from aivailable.vram.footprint import MIB
from aivailable.vram.hardware import formats_of, ruling

VLLM_SHUTDOWN_TIMEOUT_S = 20
"""How long vLLM finishes requests after SIGTERM; must be shorter than the job's kill_timeout, because a stream that
outlives it hangs until the process is killed (seen with vLLM 0.32 on a CPU)."""

ALL_LAYERS = 999
"""llama.cpp offloads as many layers as there are, when told more."""

LLAMACPP_VERBOSITY = 4
"""From this level on llama.cpp prints the sizes of its buffers (seen; 3 is its default), which are measured."""

SHARE_MAX = 0.999
"""vLLM wants a share below 1."""


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

    A vLLM footprint without graphs stands for an engine that makes none (`--enforce-eager`).
    """
    needed = ruling(engine, formats_of(profile), card).flags
    if engine is Engine.LLAMACPP:
        offload = ("--simulated",) if card.simulated else ("-ngl", str(ALL_LAYERS), *needed)
        slots = ("-c", str(context * concurrency), "-np", str(concurrency))
        return (*slots, "--metrics", "-lv", str(LLAMACPP_VERBOSITY), *offload, *extra)
    return (
        *("--max-model-len", str(context)),
        *("--max-num-seqs", str(concurrency)),
        *("--kv-cache-memory-bytes", str(footprint.kv_mib * MIB)),
        *("--gpu-memory-utilization", f"{memory_share(footprint.claim_mib, card.total_mib):.3f}"),
        *needed,
        *(("--enforce-eager",) if footprint.graphs_mib == 0 else ()),
        *("--shutdown-timeout", str(VLLM_SHUTDOWN_TIMEOUT_S)),
        # Streams then tell their usage, whether the client asked for it or not.
        "--enable-force-include-usage",
        *extra,
    )


def memory_share(claim_mib: int, total_mib: int) -> float:
    """The share for vLLM's `--gpu-memory-utilization`: the claim over the driver's total, rounded down to three digits.

    The bytes of the KV cache are given too and decide; vLLM still refuses to start where less than this share of the
    card is free, so it must not be more than what is booked.
    """
    return min(math.floor(1000 * claim_mib / max(1, total_mib)) / 1000, SHARE_MAX)
