"""Profile x engine x card -> the VRAM a replica needs on each card, by term.

The formulas stand in the functions, their constants above them with unit and source. "Observations" are 87 published
logs of vLLM and llama.cpp, read by hand; what each formula misses on them is said where it is known.
"""

from aivailable.model.cards import Card
from aivailable.model.fleet import Engine
from aivailable.model.footprint import Footprint
from aivailable.model.profile import Profile

MIB = 1024 * 1024

KV_ELEMENT_BYTES = 2
"""Bytes of one element of the KV cache: fp16 or bf16, the default of both engines (0.02 % median error, 59 rows)."""

VLLM_SAMPLER_BYTES = 38.6
"""Bytes of vLLM's activation peak per sequence and vocabulary entry. It is the sampler (fp32 logits, their sort,
int64 indices and copies), not the transformer, while many sequences are allowed: observations from opt-125m to
gpt-oss-120b, 256 sequences and more (median error 1.9 %)."""

VLLM_TOKEN_BYTES = 25
"""Bytes of the transformer's own peak per batched token and hidden element; it is the larger one where few sequences
are allowed. Two bytes for each of: gate, up and their product (3 x the MLP's width, about 3.5 x the hidden size), the
residual and the layer's output. Two observations show it: 43 B with an MLP of 5.8 x, 28 B with one of 3.5 x."""

VLLM_BATCHED_TOKENS = 2048
VLLM_BATCHED_TOKENS_LARGE = 8192
"""vLLM's defaults of `--max-num-batched-tokens` for a server, in tokens; the larger one on cards of 70 GiB and more
that are no A100 (its arg_utils.py)."""

VLLM_LARGE_CARD_MIB = 70 * 1024

VLLM_NON_TORCH_MIB = {1: 82, 2: 307}
"""What vLLM holds outside torch's allocator: 0.08 GiB on one card, 0.3 GiB on several (NCCL buffers). Observations."""

VLLM_GRAPHS_MIB = 512
"""CUDA graphs of vLLM's V1 engine from 0.10 on: 0.5 GiB median of the observations, spread -0.9 to 2.4."""

PROCESS_CONTEXT_MIB = 300
"""Driver and runtime state of one process on a card before it loads anything. General knowledge: 250 to 500 MiB by
driver; the observations do not show it."""

LLAMACPP_UBATCH = 512
"""llama.cpp's default physical batch (`-ub`), in tokens."""

LLAMACPP_LOGIT_BYTES = 4
"""llama.cpp's compute buffer is one fp32 logit per token of the physical batch and vocabulary entry, with flash
attention (median error 1.3 %)."""


def footprint(
    profile: Profile, *, engine: Engine, card: Card, context: int, concurrency: int, cards: int = 1
) -> Footprint:
    """The footprint of one replica on one of its cards.

    Args:
        profile: What the model's headers say.
        engine: The engine that serves it.
        card: The card; its size and name decide how many tokens vLLM batches.
        context: Tokens one request may use.
        concurrency: Requests at full context that are held at once; vLLM's `--max-num-seqs`, llama.cpp's `-np`.
        cards: Equal cards the replica is spread over by tensor parallel.
    """
    weights_bytes, activation_bytes, graphs_mib, other_mib = (
        _vllm(profile, card, concurrency, cards) if engine is Engine.VLLM else _llamacpp(profile, cards)
    )
    weights_mib, activation_mib = _mib(weights_bytes), _mib(activation_bytes)
    return Footprint(
        weights_mib=weights_mib,
        kv_mib=_mib(kv_bytes_per_token(profile, cards=cards) * context * concurrency),
        activation_mib=activation_mib,
        graphs_mib=graphs_mib,
        context_mib=PROCESS_CONTEXT_MIB + other_mib,
        margin_mib=_margin_mib(engine, weights_mib, activation_mib),
    )


def kv_bytes_per_token(profile: Profile, *, cards: int = 1) -> int:
    """Bytes one token takes in the KV cache of one card: layers x KV heads x (key + value size) x element.

    With more cards than KV heads each card holds a copy of one head.
    """
    kv_heads = max(1, -(-profile.kv_heads // cards))
    return profile.layers * kv_heads * (profile.key_size + profile.value_size) * KV_ELEMENT_BYTES


def _vllm(profile: Profile, card: Card, concurrency: int, cards: int) -> tuple[float, float, int, int]:
    large = card.total_mib >= VLLM_LARGE_CARD_MIB and "a100" not in card.name.lower()
    batched_tokens = VLLM_BATCHED_TOKENS_LARGE if large else VLLM_BATCHED_TOKENS
    sampler_bytes = VLLM_SAMPLER_BYTES * concurrency * profile.vocabulary
    return (
        profile.weights_bytes / cards,
        max(sampler_bytes, VLLM_TOKEN_BYTES * batched_tokens * profile.hidden_size),
        VLLM_GRAPHS_MIB,
        VLLM_NON_TORCH_MIB[min(cards, 2)],
    )


def _llamacpp(profile: Profile, cards: int) -> tuple[float, float, int, int]:
    """llama.cpp leaves the input embeddings in host memory (file size less them: 0.02 % median error, 33 rows)."""
    return (
        (profile.weights_bytes - profile.input_embedding_bytes) / cards,
        LLAMACPP_LOGIT_BYTES * LLAMACPP_UBATCH * profile.vocabulary,
        0,
        0,
    )


def _margin_mib(engine: Engine, weights_mib: int, activation_mib: int) -> int:
    """What the estimate may be wrong by.

    Weights: up to 5 % for 4-bit formats that pad (1 % is the p90 of bf16); half of that is taken. Activation: the
    observations' p90 of about 30 % for both engines. vLLM's graphs vary most: as much again.
    """
    return round(0.025 * weights_mib + 0.3 * activation_mib) + (VLLM_GRAPHS_MIB if engine is Engine.VLLM else 64)


def _mib(size_bytes: float) -> int:
    return int(-(-size_bytes // MIB))
