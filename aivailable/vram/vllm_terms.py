"""What vLLM holds on one card beside weights and KV cache.

"Observations" are the published logs that docs/vram-accuracy.md scores; sizes that vLLM's logs call GB are GiB.
"""

from aivailable.model.profile import Profile, Tower
from aivailable.vram.launch import V1_ENGINE, Launch

SAMPLER_BYTES = 38.3
"""Bytes of the sampler's peak per sequence and vocabulary entry: fp32 logits, their sort, int64 indices, copies of the
probabilities. Observations from opt-125m to gpt-oss-120b, V0 and V1, 256 and 1,024 sequences: 38.1 to 39.1 once the
hidden states that wait for it are taken off. It is not divided by tensor parallel: every card sorts all logits."""

HIDDEN_BYTES = 2
"""Bytes of one 16-bit activation."""

MLP_BYTES = 6
"""Bytes of the transformer's peak per batched token and element of the MLP's width: gate, up and their product, two
bytes each (vLLM's SiluAndMul). Divided by tensor parallel."""

RESIDUAL_BYTES = 8
"""Bytes of the transformer's peak per batched token and hidden element: residual, normalized input, the layer's output
and the hidden states that are kept. Reading of the model code; it meets the two observations whose batch is large
enough to show it (32,768 tokens: 2.02 GiB; 16,384: 1.97 GiB) to within 3 %."""

MLP_WIDTHS = 3.5
"""Width of the MLP in hidden sizes where the profile does not say: Llama 3, Mistral and Qwen have 2.7 to 5.3."""

NON_TORCH_MIB = 56
NON_TORCH_LARGE_MIB = 133
NON_TORCH_LARGE_V0_MIB = 164
NON_TORCH_PARALLEL_MIB = 307
"""What vLLM counts outside torch's allocator once its first snapshot is taken: median of the observations with one card
of less than 70 GiB (0.055 GiB, n=6), with one larger card under V1 (0.13, n=6) and V0 (0.16, n=3), with several cards
(0.30, NCCL's buffers, n=8)."""

WHOLE_DEVICE_BEFORE = (0, 7, 0)
WHOLE_DEVICE_MIB = 338
WHOLE_DEVICE_LARGE_MIB = 987
"""Before 0.7 vLLM counted all that the device held beside its tensors, the CUDA contexts of all workers included
(vllm#11809 changed it): per worker, observations with a small card (0.33 GiB) and a large one (0.96 GiB)."""

GRAPHS_MIB = 512
GRAPHS_LEAST_MIB = 100
"""CUDA graphs of the V1 engine from 0.10 on with all sizes that it captures by default: 0.5 GiB median of the
observations, from -0.9 to 2.4. Fewer sizes take less in proportion (a reading of its code, not measured), but no less
than the first captures' workspaces (an assumption; the margin doubles it)."""

GRAPHS_LARGEST = 512
GRAPHS_SIZES = (1, 2, 4, *range(8, 256, 8), *range(256, GRAPHS_LARGEST + 1, 16))
"""The batches that vLLM captures, up to twice `--max-num-seqs` and 512 at most (its cudagraph_capture_sizes)."""

GRAPHS_V0_MIB = 236
GRAPHS_V1_MIB_PER_LAYER = 37
GRAPHS_SMALL_FROM = (0, 10, 0)
"""Before 0.10: V1's graphs took about 37 MiB for each layer, V0's 0.23 GiB (medians of the observations)."""


def activation_bytes(profile: Profile, launch: Launch) -> float:
    """Peak of one profiling step: the sampler, the transformer or the tower's encoder, whichever is largest."""
    tokens = launch.step_tokens
    hidden = HIDDEN_BYTES * tokens * profile.hidden_size
    width = profile.intermediate_size or MLP_WIDTHS * profile.hidden_size
    transformer = tokens * (MLP_BYTES * width / launch.cards + RESIDUAL_BYTES * profile.hidden_size)
    sampler = 0.0 if profile.pooling else SAMPLER_BYTES * launch.concurrency * profile.vocabulary + hidden
    if not profile.tower:
        return max(sampler, transformer)
    encoder, kept = _encoder_bytes(profile.tower, profile.hidden_size, launch)
    return max(encoder, max(sampler, transformer) + kept)


def _encoder_bytes(tower: Tower, hidden_size: int, launch: Launch) -> tuple[float, float]:
    """The encoder's own peak over the items that fit one step, and what it leaves for the language model.

    vLLM runs the encoder on as many of the largest items as a step has tokens for (its profile_run), at least one and
    no more than there are sequences; with cross-attention, where images take no tokens, on one for each sequence. The
    peak per patch is that of any transformer layer.
    """
    if not tower.tokens:
        return launch.concurrency * tower.patches * _per_patch(tower, launch), 0.0
    tokens = min(tower.tokens, launch.context)
    items = max(1, min(launch.step_tokens // max(1, tokens), launch.concurrency))
    patches = items * tower.patches * tokens / max(1, tower.tokens)
    return patches * _per_patch(tower, launch), HIDDEN_BYTES * items * tokens * hidden_size


def _per_patch(tower: Tower, launch: Launch) -> float:
    return MLP_BYTES * tower.intermediate_size / launch.cards + RESIDUAL_BYTES * tower.hidden_size


def non_torch_mib(launch: Launch) -> int:
    """What is held outside torch's allocator, as the version counts it."""
    if launch.version < WHOLE_DEVICE_BEFORE:
        return launch.cards * (WHOLE_DEVICE_LARGE_MIB if launch.large_card else WHOLE_DEVICE_MIB)
    if launch.cards > 1:
        return NON_TORCH_PARALLEL_MIB
    if not launch.large_card:
        return NON_TORCH_MIB
    return NON_TORCH_LARGE_MIB if launch.version >= V1_ENGINE else NON_TORCH_LARGE_V0_MIB


def graphs_mib(profile: Profile, launch: Launch) -> int:
    """Captured CUDA or HIP graphs; they come on top of vLLM's own budget up to 0.20 and are within it from 0.21 on."""
    if launch.eager:
        return 0
    if launch.version < V1_ENGINE:
        return GRAPHS_V0_MIB
    if launch.version < GRAPHS_SMALL_FROM:
        return GRAPHS_V1_MIB_PER_LAYER * profile.layers
    largest = min(2 * launch.concurrency, GRAPHS_LARGEST)
    sizes: int = sum(size <= largest for size in GRAPHS_SIZES)
    return max(GRAPHS_LEAST_MIB, round(GRAPHS_MIB * sizes / len(GRAPHS_SIZES)))
