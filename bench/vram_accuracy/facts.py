"""Architecture facts of a model, as published -> the profile that its files would give.

Where files are at hand the product reads their headers; the observations name models only, so here the bytes are
computed from the parameter count, the format's bits and which tensors the format leaves at 16 bits.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from aivailable.model.profile import Experts, KvLayers, Profile, Tower, WeightsFormat

TOWERS = Path(__file__).parents[1] / "data" / "towers.json"

BITS = {
    "bf16": 16.0,
    "fp16": 16.0,
    "fp8": 8.0,
    "int8-w8a8": 8.0,
    "awq-int4": 4.0 + (16 + 4) / 128,
    "gptq-int4": 4.0 + (16 + 4) / 128,
    "bnb-4bit": 4.0 + (8 + 32 / 256) / 64,
    "mxfp4": 4.0 + 8 / 32,
    "nvfp4": 4.0 + 8 / 16,
}
"""Bits of a quantized weight with its share of scales and zero points: groups of 128 with a 16-bit scale and a 4-bit
zero (AWQ, GPTQ), blocks of 64 with a doubly quantized scale (bitsandbytes), of 32 and 16 with an 8-bit scale (MXFP4,
NVFP4)."""

METHODS = {"awq-int4": "awq", "gptq-int4": "gptq", "bnb-4bit": "bitsandbytes", "int8-w8a8": "compressed-tensors"}

MATRICES = 3
"""Gate, up and down: the matrices of an MLP or an expert."""


class MissingFactError(Exception):
    """A fact that a profile needs is not published; its name."""


def profile_of(
    model: str, facts: Mapping[str, Any], quantization: str, *, pooling: bool = False, latent: bool = True
) -> Profile:
    """The profile of a model in a format of weights (`bf16`, `awq-int4`, …).

    `pooling`: without an output head. `latent` False: the engine keeps whole keys and values where the model is MLA.

    Raises:
        MissingFactError: A number is missing, or the format is not known.
    """
    method = quantization.split(" ", maxsplit=1)[0].lower()
    gguf = method.startswith("gguf")
    if method not in BITS and not gguf:
        raise MissingFactError(f"weights {quantization or 'not given'}")
    hidden, layers = _number(facts, "hidden_size"), _number(facts, "num_hidden_layers")
    heads = _number(facts, "num_attention_heads")
    tower = _tower(model)
    experts = _experts(facts, hidden, layers, BITS.get(method, 16.0))
    kv_layers = _kv_layers(facts, layers, heads, hidden, latent=latent)
    table = hidden * _number(facts, "vocab_size")
    tables = 1 if facts.get("tie_word_embeddings") or pooling else 2
    return Profile(
        format=WeightsFormat.GGUF if gguf else WeightsFormat.SAFETENSORS,
        architecture=model,
        weights_bytes=0 if gguf else round(_weights(facts, method, experts, table, tables, tower)),
        input_embedding_bytes=0,
        layers=layers,
        hidden_size=hidden,
        heads=heads,
        kv_heads=kv_layers[0].kv_heads,
        key_size=kv_layers[0].key_size,
        value_size=kv_layers[0].value_size,
        vocabulary=_number(facts, "vocab_size"),
        context_limit=1 << 24,
        weights_type="",
        quantization="" if BITS.get(method, 0.0) == BITS["bf16"] or gguf else METHODS.get(method, method),
        intermediate_size=_width(facts),
        kv_layers=kv_layers,
        experts=experts,
        tower=tower[0] if tower else None,
        replicated_bytes=round(_replicated(facts, layers, hidden, BITS.get(method, 16.0))),
        pooling=pooling,
    )


def _weights(
    facts: Mapping[str, Any],
    method: str,
    experts: Experts | None,
    table: int,
    tables: int,
    tower: tuple[Tower, int] | None,
) -> float:
    """Bytes as stored: embeddings, output head and towers at 16 bits, with MXFP4 all but the experts."""
    parameters = _number(facts, "parameter_count")
    if method == "mxfp4":
        if experts is None:
            raise MissingFactError("experts")
        count = experts.stored_bytes * 8 / BITS["mxfp4"]
        return experts.stored_bytes + (parameters - count) * 2
    whole = tables * table + (tower[1] if tower else 0)
    return (parameters - whole) * BITS[method] / 8 + whole * 2


def _experts(facts: Mapping[str, Any], hidden: int, layers: int, bits: float) -> Experts | None:
    if not facts.get("num_experts"):
        return None
    width = facts.get("moe_intermediate_size") or _number(facts, "intermediate_size")
    with_experts = layers - (facts.get("first_k_dense_replace") or 0)
    count = int(facts["num_experts"])
    stored = with_experts * count * MATRICES * hidden * width * bits / 8
    return Experts(layers=with_experts, count=count, width=width, stored_bytes=round(stored))


def _width(facts: Mapping[str, Any]) -> int:
    """What one token passes: the dense width, or the chosen and shared experts' together."""
    if not facts.get("num_experts"):
        return int(facts.get("intermediate_size") or 0)
    each = int(facts.get("moe_intermediate_size") or facts.get("intermediate_size") or 0)
    return each * (int(facts.get("num_experts_per_tok") or 1) + int(facts.get("num_shared_experts") or 0))


def _kv_layers(facts: Mapping[str, Any], layers: int, heads: int, hidden: int, *, latent: bool) -> tuple[KvLayers, ...]:
    if facts.get("kv_lora_rank") and not latent:
        key = _number(facts, "qk_nope_head_dim") + _number(facts, "qk_rope_head_dim")
        return (KvLayers(layers=layers, kv_heads=heads, key_size=key, value_size=_number(facts, "v_head_dim")),)
    if rank := facts.get("kv_lora_rank"):
        row = rank + _number(facts, "qk_rope_head_dim")
        return (KvLayers(layers=layers, kv_heads=1, key_size=row, value_size=0, latent=True),)
    size = facts.get("head_dim") or hidden // heads
    full = KvLayers(layers=layers, kv_heads=_number(facts, "num_key_value_heads"), key_size=size, value_size=size)
    windowed = facts.get("sliding_window_layers") or 0
    if not facts.get("sliding_window") or not windowed:
        return (full,)
    return (
        replace(full, layers=layers - windowed),
        replace(full, layers=windowed, window=_number(facts, "sliding_window")),
    )


def _replicated(facts: Mapping[str, Any], layers: int, hidden: int, bits: float) -> float:
    """MLA's down-projections, which every card holds whole."""
    if not facts.get("kv_lora_rank"):
        return 0.0
    row = facts["kv_lora_rank"] + (facts.get("qk_rope_head_dim") or 0) + (facts.get("q_lora_rank") or 0)
    return float(layers * hidden * row * bits / 8)


def _tower(model: str) -> tuple[Tower, int] | None:
    """The encoder of the model's family, and its parameters."""
    for entry in _towers():
        if entry["match"] in model.lower() and "(lm)" not in model.lower():
            size = {name: value for name, value in entry.items() if name not in ("match", "parameters")}
            return Tower(**size, stored_bytes=2 * entry["parameters"]), entry["parameters"]
    return None


@cache
def _towers() -> list[dict[str, Any]]:
    towers: list[dict[str, Any]] = json.loads(TOWERS.read_text(encoding="utf-8"))["towers"]
    return towers


def _number(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    if not isinstance(value, int | float) or value <= 0:
        raise MissingFactError(name)
    return int(value)
