"""What `config.json` says of a family: layers with a KV cache, experts, encoders, quantization.

The keys are those of transformers' configurations; where families name one thing differently, `ALIASES` lists the
names. Keys that a file leaves out because they equal transformers' defaults are in `DEFAULTS`.
"""

from collections.abc import Mapping
from typing import Any

from aivailable.model.profile import KvLayers

ALIASES = {
    "hidden_size": ("n_embd", "d_model"),
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "head_dim": ("kv_channels", "attention_head_dim"),
    "intermediate_size": ("ffn_dim", "n_inner", "ffn_hidden_size", "encoder_ffn_dim"),
    "vocab_size": ("padded_vocab_size",),
    "max_position_embeddings": ("n_positions", "seq_length", "max_sequence_length", "max_seq_len", "n_ctx"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts"),
    "expert_width": ("moe_intermediate_size", "expert_dim"),
    "shared_experts": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "shared_width": ("shared_expert_intermediate_size", "shared_intermediate_size", "intermediate_size_mlp"),
}
"""Other names of one thing (GPT-2, OPT, Falcon, ChatGLM; the many names of mixtures)."""

DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "gemma3_text": {
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "mistral": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
    },
    "llama": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    },
    "mllama_text_model": {"num_key_value_heads": 8},
}
"""transformers' defaults of families whose files on the hub leave keys out (its configuration classes, general
knowledge). `sliding_window` of Gemma 3 is always in the file of models that differ."""

WINDOW_EVERY = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4, "llama4_text": 4}
"""Every how manieth layer sees all tokens, where the file names neither `layer_types` nor a pattern (transformers'
configuration classes)."""

ENCODERS = ("bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "new", "distilbert", "mpnet", "deberta-v2")
"""Model types that read a text whole and keep no KV cache."""

STATE_BYTES = 4
CONV_BYTES = 2
"""Bytes of one element of a Mamba layer's state and of its convolution's: vLLM keeps the first in fp32 for some models
and in the model's 16 bits for others; the larger is taken."""

FULL, WINDOWED, STATE = "full", "windowed", "state"

_KINDS = {
    "full_attention": FULL,
    "attention": FULL,
    "sliding_attention": WINDOWED,
    "chunked_attention": WINDOWED,
    "local_attention": WINDOWED,
    "mamba": STATE,
    "linear_attention": STATE,
    "recurrent": STATE,
    "conv": STATE,
}


class Config:
    """A configuration with its aliases and its family's defaults; a number that is absent or no number is None."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.kind = str(values.get("model_type", ""))
        self._defaults = DEFAULTS.get(self.kind, {})

    def number(self, name: str) -> int | None:
        """A whole number by its name, an alias, or the family's default."""
        for key in (name, *ALIASES.get(name, ())):
            value = self.values.get(key)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
            if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
                return int(max(value))
        return self._defaults.get(name)


def mlp_width(config: Config) -> int:
    """The width that one token passes: the dense MLP's, or that of its chosen and shared experts together."""
    dense = config.number("intermediate_size") or 0
    if not config.number("experts"):
        return dense
    each = config.number("expert_width") or dense
    shared = config.number("shared_width") or each * (config.number("shared_experts") or 0)
    return each * (config.number("experts_per_token") or 1) + shared


def layer_kinds(config: Config, layers: int) -> list[str]:
    """For every layer: does it see all tokens, a window of them, or keep a state in place of tokens."""
    values = config.values
    if isinstance(kinds := values.get("layer_types") or values.get("layers_block_type"), list) and kinds:
        return [_KINDS.get(str(kind), FULL) for kind in kinds]
    if isinstance(pattern := values.get("hybrid_override_pattern"), str):  # Nemotron-H: M Mamba, * attention, - MLP
        return [FULL if letter == "*" else STATE for letter in pattern if letter in "M*"]
    if config.kind in ("mamba", "mamba2", "falcon_mamba"):
        return [STATE] * layers
    if isinstance(attention := values.get("attn_layer_indices"), list):  # Bamba
        return [FULL if layer in attention else STATE for layer in range(layers)]
    if period := config.number("attn_layer_period"):  # Jamba
        offset = config.number("attn_layer_offset") or 0
        return [FULL if layer % period == offset else STATE for layer in range(layers)]
    if not window_of(config):
        return [FULL] * layers
    every = config.number("sliding_window_pattern") or WINDOW_EVERY.get(config.kind)
    if every:
        return [FULL if (layer + 1) % every == 0 else WINDOWED for layer in range(layers)]
    if config.kind.startswith("qwen") and "max_window_layers" in values:
        whole = config.number("max_window_layers") or 0
        return [FULL if layer < whole else WINDOWED for layer in range(layers)]
    return [WINDOWED] * layers


def window_of(config: Config) -> int:
    """The window in tokens; 0 where there is none, or the file says not to use it (Qwen 2)."""
    if config.values.get("use_sliding_window") is False:
        return 0
    if (
        config.kind.startswith("qwen")
        and "use_sliding_window" not in config.values
        and "layer_types" not in config.values
    ):
        return 0
    return config.number("sliding_window") or config.number("attention_chunk_size") or 0


def kv_layers(config: Config, layers: int, kv_heads: int, head_size: int) -> tuple[KvLayers, ...]:
    """The layers with a KV cache by shape; one entry of no layers where none has (Mamba, encoders)."""
    if config.kind in ENCODERS:
        return (KvLayers(layers=0, kv_heads=kv_heads, key_size=head_size, value_size=head_size),)
    if rank := config.number("kv_lora_rank"):
        row = rank + (config.number("qk_rope_head_dim") or 0)
        return (KvLayers(layers=layers, kv_heads=1, key_size=row, value_size=0, latent=True),)
    kinds = layer_kinds(config, layers)
    crossing = config.values.get("cross_attention_layers")
    # Layers that look at an image only keep nothing for text.
    full = kinds.count(FULL) - (len(crossing) if isinstance(crossing, list) else 0)
    windowed = kinds.count(WINDOWED)
    shapes = (
        KvLayers(layers=max(0, full), kv_heads=kv_heads, key_size=head_size, value_size=head_size),
        KvLayers(
            layers=windowed, kv_heads=kv_heads, key_size=head_size, value_size=head_size, window=window_of(config)
        ),
    )
    return tuple(shape for shape in shapes if shape.layers) or shapes[:1]


def state_bytes(config: Config, layers: int, hidden_size: int) -> int:
    """What one sequence keeps in all layers without a KV cache: the recurrent state and the convolution's window."""
    count = layers if config.kind == "falcon_h1" else layer_kinds(config, layers).count(STATE)
    if not count:
        return 0
    taps = (_first(config, "mamba_d_conv", "conv_kernel", "linear_conv_kernel_dim") or 4) - 1
    if value_heads := config.number("linear_num_value_heads"):  # gated delta net (Qwen3-Next)
        key_size, value_size = (
            config.number("linear_key_head_dim") or 128,
            config.number("linear_value_head_dim") or 128,
        )
        channels = 2 * (config.number("linear_num_key_heads") or 1) * key_size + value_heads * value_size
        return count * (value_heads * key_size * value_size * STATE_BYTES + channels * taps * CONV_BYTES)
    state = _first(config, "mamba_d_state", "ssm_state_size", "state_size") or 16
    heads = _first(config, "mamba_n_heads", "mamba_num_heads")
    inner = (
        heads * (_first(config, "mamba_d_head", "mamba_head_dim") or 64)
        if heads
        else _first(config, "mamba_intermediate", "mamba_d_ssm")
        or hidden_size * (_first(config, "mamba_expand", "expand") or 2)
    )
    groups = (_first(config, "mamba_n_groups", "n_groups") or 1) if heads else 0
    return count * (inner * state * STATE_BYTES + (inner + 2 * groups * state) * taps * CONV_BYTES)


def quantization(config: Mapping[str, Any], exported: Mapping[str, Any]) -> str:
    """The method as vLLM names it, compressed-tensors by what it holds; `exported` is `hf_quant_config.json`."""
    found = config.get("quantization_config")
    if not isinstance(found, dict):
        found = config.get("compression_config")
    if not isinstance(found, dict):
        algorithm = exported.get("quantization", {}).get("quant_algo") if exported else None
        return _modelopt(str(algorithm)) if algorithm else ""
    method = str(found.get("quant_method", "")).lower()
    if method == "modelopt":
        return _modelopt(str(found.get("quant_algo", "")))
    if method != "compressed-tensors":
        return {"awq_marlin": "awq", "gptq_marlin": "gptq", "fbgemm_fp8": "fp8"}.get(method, method)
    form = str(found.get("format", ""))
    return {
        "float-quantized": "fp8",
        "naive-quantized": "fp8",
        "int-quantized": "int8",
        "pack-quantized": "w4a16",
        "nvfp4-pack-quantized": "nvfp4",
        "mxfp4-pack-quantized": "mxfp4",
    }.get(form, "compressed-tensors")


def _modelopt(algorithm: str) -> str:
    return "nvfp4" if "NVFP4" in algorithm.upper() else "fp8" if "FP8" in algorithm.upper() else algorithm.lower()


def _first(config: Config, *names: str) -> int | None:
    return next((value for name in names if (value := config.number(name))), None)
