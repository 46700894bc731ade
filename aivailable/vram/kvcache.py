"""The KV cache on one card: bytes per token as engines report them, and bytes for the requests that are held."""

from dataclasses import dataclass

from aivailable.model.fleet import Engine
from aivailable.model.profile import KvLayers, Profile
from aivailable.vram.launch import V1_ENGINE, Launch, element_bytes

VLLM_BLOCK_TOKENS = 16
"""Tokens of one block of vLLM's KV cache on GPUs; a request takes whole blocks (its default `--block-size`)."""

VLLM_HYBRID = (0, 9, 2)
"""From this version on vLLM's layers with a window keep no more than the window (its kv_cache_utils.py; which release
brought it: general knowledge). Before, every layer kept everything, as an observation of Gemma 3 shows."""

MLA_PADDED = (0, 7, 2)
MLA_PADDED_MULTIPLE_BYTES = 256
"""vLLM's V0 engine aligned the compressed row of MLA, from the version that knew MLA to the V1 engine (its
cache_engine.py): 576 elements became 640. One observation with (+11 %), one without."""

LLAMACPP_PAD_TOKENS = 256
"""llama.cpp pads the context of each slot to this many tokens (seen: 20 slots of 256 tokens where 20 were asked)."""

LLAMACPP_WINDOWS = (5427,)
"""From this build on llama.cpp's layers with a window keep a cache of their own (ggml-org/llama.cpp#13194, 2025)."""


@dataclass(frozen=True, slots=True)
class _Group:
    """`slots` layers that share one table of blocks, `used` of them by real layers, all shaped like `kind`."""

    slots: int
    kind: KvLayers


def kv_bytes_per_token(profile: Profile, launch: Launch) -> float:
    """Bytes one token takes on one card: all layers' key and value, KV heads divided over the cards or copied.

    It is what vLLM's "KV cache size" lines give when bytes are divided by tokens, the padding of its groups included;
    layers with a window count in full.
    """
    return sum(group.slots * _bytes_per_token(group.kind, launch) for group in _groups(profile, launch))


def kv_bytes(profile: Profile, launch: Launch) -> float:
    """Bytes of `concurrency` requests of `context` tokens on one card, with what Mamba layers keep for each.

    vLLM keeps one block more, which it never gives to a request (its block_pool.py).
    """
    spare = 0.0
    if launch.engine is Engine.LLAMACPP:
        each = sum(
            kind.layers * _bytes_per_token(kind, launch) * _llamacpp_tokens(kind, launch)
            for kind in profile.cached_layers
        )
    else:
        each = sum(
            group.slots * _bytes_per_token(group.kind, launch) * _vllm_tokens(group.kind, launch)
            for group in _groups(profile, launch)
        )
        spare = VLLM_BLOCK_TOKENS * kv_bytes_per_token(profile, launch)
    return spare + (each + profile.state_bytes / launch.cards) * launch.concurrency


def _bytes_per_token(kind: KvLayers, launch: Launch) -> float:
    """Bytes of one token in one layer."""
    if kind.latent and launch.engine is Engine.VLLM:
        row = kind.key_size * element_bytes(launch.key_type)
        if MLA_PADDED <= launch.version < V1_ENGINE:
            row = -(-row // MLA_PADDED_MULTIPLE_BYTES) * MLA_PADDED_MULTIPLE_BYTES
        return row
    heads = max(1, -(-kind.kv_heads // launch.cards)) if kind.kv_heads else 0
    return heads * (kind.key_size * element_bytes(launch.key_type) + kind.value_size * element_bytes(launch.value_type))


def _groups(profile: Profile, launch: Launch) -> list[_Group]:
    """VLLM's groups of layers: as many layers of one kind in each as the rarest kind has, the last one filled up.

    Only where kinds differ in their window and in nothing else; otherwise each kind is by itself.
    """
    kinds = profile.cached_layers
    shapes = {(kind.kv_heads, kind.key_size, kind.value_size, kind.latent) for kind in kinds}
    hybrid = launch.engine is Engine.VLLM and launch.version >= VLLM_HYBRID and len(kinds) > 1 and len(shapes) == 1
    if not hybrid:
        return [_Group(kind.layers, kind) for kind in kinds]
    size = min(kind.layers for kind in kinds)
    return [_Group(-(-kind.layers // size) * size, kind) for kind in kinds]


def _vllm_tokens(kind: KvLayers, launch: Launch) -> int:
    """Tokens a request keeps in one layer, in whole blocks: the context, or the window and one step's tokens."""
    if not kind.window or launch.version < VLLM_HYBRID:
        return _blocks(launch.context) * VLLM_BLOCK_TOKENS
    kept = min(kind.window - 1 + launch.step_tokens, launch.context)
    # A window seldom begins where a block does.
    return min(_blocks(kept) + 1, _blocks(launch.context)) * VLLM_BLOCK_TOKENS


def _llamacpp_tokens(kind: KvLayers, launch: Launch) -> int:
    """Cells a slot has in one layer: the context, or the window and one physical batch (llama-kv-cache-iswa.cpp)."""
    windowed = kind.window and launch.version >= LLAMACPP_WINDOWS
    cells = min(kind.window + launch.step_tokens, launch.context) if windowed else launch.context
    return -(-cells // LLAMACPP_PAD_TOKENS) * LLAMACPP_PAD_TOKENS


def _blocks(tokens: int) -> int:
    return -(-tokens // VLLM_BLOCK_TOKENS)
