"""Profiles of the families, from configurations as they lie on the hub (the numbers that matter here)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.numpy import save_file

from aivailable.documents import load_resolved, resolved_document
from aivailable.errors import UserError
from aivailable.model.fleet import Resolved
from aivailable.model.profile import Profile, Tower
from aivailable.vram.gguf_header import read_gguf
from aivailable.vram.hardware import formats_of
from aivailable.vram.safetensors_header import read_safetensors
from tests.samples import EIGHT_B
from tests.weights import write_safetensors

LLAMA31 = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
    "model_type": "llama",
}


def read(folder: Path, **config: Any) -> Profile:
    return read_safetensors(write_safetensors(folder, **config))


def kinds(profile: Profile) -> list[tuple[int, int, int, int, bool]]:
    return [(kind.layers, kind.kv_heads, kind.key_size, kind.window, kind.latent) for kind in profile.cached_layers]


def test_grouped_queries_and_a_dense_mlp(tmp_path: Path) -> None:
    found = read(tmp_path, **LLAMA31)

    assert (found.intermediate_size, found.kv_layers, found.experts, found.tower) == (14336, (), None, None)
    assert (found.quantization, found.pooling, found.state_bytes) == ("", False, 0)
    assert kinds(found) == [(32, 8, 128, 0, False)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(  # gemma-2-9b-it
            {"model_type": "gemma2", "num_hidden_layers": 42, "sliding_window": 4096, "head_dim": 256},
            [(21, 2, 256, 0, False), (21, 2, 256, 4096, False)],
            id="gemma2",
        ),
        pytest.param(  # gemma-3-27b-it: little in the file, the rest are the family's defaults
            {
                "model_type": "gemma3",
                "architectures": ["Gemma3ForConditionalGeneration"],
                "text_config": {
                    "model_type": "gemma3_text",
                    "num_hidden_layers": 62,
                    "num_attention_heads": 32,
                    "num_key_value_heads": 16,
                    "head_dim": 128,
                    "sliding_window": 1024,
                },
            },
            [(10, 16, 128, 0, False), (52, 16, 128, 1024, False)],
            id="gemma3",
        ),
        pytest.param(  # gpt-oss-20b
            {
                "model_type": "gpt_oss",
                "num_hidden_layers": 24,
                "sliding_window": 128,
                "layer_types": ["sliding_attention", "full_attention"] * 12,
            },
            [(12, 2, 16, 0, False), (12, 2, 16, 128, False)],
            id="gpt-oss",
        ),
        pytest.param(  # c4ai-command-r7b
            {"model_type": "cohere2", "num_hidden_layers": 32, "sliding_window": 4096, "sliding_window_pattern": 4},
            [(8, 2, 16, 0, False), (24, 2, 16, 4096, False)],
            id="cohere2",
        ),
        pytest.param(  # Mistral-7B-v0.1
            {"model_type": "mistral", "num_hidden_layers": 32, "sliding_window": 4096},
            [(32, 2, 16, 4096, False)],
            id="mistral-v0.1",
        ),
        pytest.param(  # Qwen2.5: a window that is not used
            {"model_type": "qwen2", "sliding_window": 131_072, "max_window_layers": 28, "use_sliding_window": False},
            [(2, 2, 16, 0, False)],
            id="qwen2",
        ),
        pytest.param(  # Llama 4 Scout
            {
                "model_type": "llama4",
                "text_config": {"model_type": "llama4_text", "num_hidden_layers": 48, "attention_chunk_size": 8192},
            },
            [(12, 2, 16, 0, False), (36, 2, 16, 8192, False)],
            id="llama4",
        ),
        pytest.param(  # DeepSeek-V2-Lite
            {"model_type": "deepseek_v2", "num_hidden_layers": 27, "kv_lora_rank": 512, "qk_rope_head_dim": 64},
            [(27, 1, 576, 0, True)],
            id="mla",
        ),
        pytest.param(  # Llama-3.2-11B-Vision: eight layers look at the image only
            {
                "model_type": "mllama",
                "text_config": {
                    "model_type": "mllama_text_model",
                    "num_hidden_layers": 40,
                    "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
                },
            },
            [(32, 2, 16, 0, False)],
            id="mllama",
        ),
        pytest.param(  # Jamba: one layer of eight has attention
            {
                "model_type": "jamba",
                "num_hidden_layers": 32,
                "attn_layer_period": 8,
                "attn_layer_offset": 4,
                "mamba_d_state": 16,
                "mamba_expand": 2,
                "mamba_d_conv": 4,
            },
            [(4, 2, 16, 0, False)],
            id="jamba",
        ),
        pytest.param(  # Bamba-9B
            {"model_type": "bamba", "num_hidden_layers": 32, "attn_layer_indices": [9, 18, 27], "mamba_n_heads": 128},
            [(3, 2, 16, 0, False)],
            id="bamba",
        ),
        pytest.param(  # Nemotron-H: M Mamba, * attention, - MLP
            {"model_type": "nemotron_h", "num_hidden_layers": 9, "hybrid_override_pattern": "M-M-M*-M-"},
            [(1, 2, 16, 0, False)],
            id="nemotron-h",
        ),
        pytest.param(  # Qwen3-Next
            {
                "model_type": "qwen3_next",
                "num_hidden_layers": 48,
                "layer_types": ["linear_attention"] * 3 + ["full_attention"],
            },
            [(1, 2, 16, 0, False)],
            id="qwen3-next",
        ),
        pytest.param({"model_type": "bert"}, [(0, 2, 16, 0, False)], id="bert"),
    ],
)
def test_layers_with_a_cache(
    tmp_path: Path, config: dict[str, Any], expected: list[tuple[int, int, int, int, bool]]
) -> None:
    assert kinds(read(tmp_path, **config)) == expected


def test_what_mamba_keeps_for_each_sequence(tmp_path: Path) -> None:
    mamba2 = {
        "model_type": "mamba2",
        "num_hidden_layers": 64,
        "num_attention_heads": None,
        "num_key_value_heads": None,
        "mamba_n_heads": 80,
        "mamba_d_head": 64,
        "mamba_d_state": 128,
        "mamba_n_groups": 8,
    }
    found = read(tmp_path / "a", **mamba2)
    inner = 80 * 64
    assert found.state_bytes == 64 * (inner * 128 * 4 + (inner + 2 * 8 * 128) * 3 * 2)
    assert kinds(found) == [(0, 1, 64, 0, False)]

    delta = {
        "model_type": "qwen3_next",
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_value_heads": 32,
        "linear_num_key_heads": 16,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
    }
    assert read(tmp_path / "b", **delta).state_bytes == 32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 3 * 2


@pytest.mark.parametrize(
    ("config", "width"),
    [
        ({"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "intermediate_size": 6144}, 6144),
        (
            {"n_routed_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "n_shared_experts": 2},
            11264,
        ),
        ({"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 14336}, 28672),
        (
            {
                "num_experts": 60,
                "num_experts_per_tok": 4,
                "moe_intermediate_size": 1408,
                "shared_expert_intermediate_size": 5632,
            },
            4 * 1408 + 5632,
        ),
        ({"ffn_dim": 3072}, 3072),
    ],
    ids=["qwen3-moe", "deepseek", "mixtral", "qwen2-moe", "opt"],
)
def test_the_width_a_token_passes(tmp_path: Path, config: dict[str, Any], width: int) -> None:
    assert read(tmp_path, **config).intermediate_size == width


def test_experts_and_what_is_copied_are_read_from_the_tensors(tmp_path: Path) -> None:
    folder = write_safetensors(tmp_path, num_experts=2, num_experts_per_tok=1, moe_intermediate_size=16)
    one = np.zeros((16, 64), np.float16)
    save_file(
        {
            "model.layers.0.mlp.experts.0.gate_proj.weight": one,
            "model.layers.0.mlp.experts.1.gate_proj.weight": one,
            "model.layers.0.mlp.gate.weight": np.zeros((2, 64), np.float16),
            "model.layers.0.mlp.shared_experts.gate_proj.weight": one,
            "model.layers.1.self_attn.kv_a_proj_with_mqa.weight": one,
            "model.layers.1.input_layernorm.weight": np.zeros(64, np.float16),
            "lm_head.weight": one,
        },
        folder / "model-00001-of-00001.safetensors",
    )
    found = read_safetensors(folder)

    assert found.experts is not None
    assert (found.experts.layers, found.experts.count, found.experts.width) == (1, 2, 16)
    assert found.experts.stored_bytes == 2 * one.nbytes
    assert found.replicated_bytes == 2 * 64 * 2 + one.nbytes + 64 * 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(
            {
                "model_type": "gemma3",
                "mm_tokens_per_image": 256,
                "vision_config": {
                    "hidden_size": 1152,
                    "intermediate_size": 4304,
                    "num_hidden_layers": 27,
                    "image_size": 896,
                    "patch_size": 14,
                },
            },
            Tower(hidden_size=1152, intermediate_size=4304, layers=27, patches=4096, tokens=256, stored_bytes=128),
            id="gemma3",
        ),
        pytest.param(
            {
                "model_type": "qwen2_vl",
                "vision_config": {
                    "embed_dim": 1280,
                    "hidden_size": 3584,
                    "depth": 32,
                    "mlp_ratio": 4,
                    "patch_size": 14,
                    "spatial_merge_size": 2,
                },
            },
            Tower(hidden_size=1280, intermediate_size=5120, layers=32, patches=65536, tokens=16384, stored_bytes=128),
            id="qwen2-vl",
        ),
        pytest.param(
            {
                "model_type": "mistral3",
                "spatial_merge_size": 2,
                "vision_config": {
                    "hidden_size": 1024,
                    "intermediate_size": 4096,
                    "num_hidden_layers": 24,
                    "image_size": 1540,
                    "patch_size": 14,
                },
            },
            Tower(hidden_size=1024, intermediate_size=4096, layers=24, patches=12100, tokens=3025, stored_bytes=128),
            id="pixtral",
        ),
        pytest.param(
            {
                "model_type": "mllama",
                "vision_config": {
                    "hidden_size": 1280,
                    "intermediate_size": 5120,
                    "num_hidden_layers": 32,
                    "image_size": 560,
                    "patch_size": 14,
                },
            },
            Tower(hidden_size=1280, intermediate_size=5120, layers=32, patches=6404, tokens=0, stored_bytes=128),
            id="mllama",
        ),
        pytest.param(
            {
                "model_type": "qwen2_audio",
                "audio_config": {
                    "d_model": 1280,
                    "encoder_ffn_dim": 5120,
                    "encoder_layers": 32,
                    "max_source_positions": 1500,
                },
            },
            Tower(hidden_size=1280, intermediate_size=5120, layers=32, patches=1500, tokens=750, stored_bytes=128),
            id="qwen2-audio",
        ),
    ],
)
def test_encoders(tmp_path: Path, config: dict[str, Any], expected: Tower) -> None:
    folder = write_safetensors(tmp_path, **config)
    tensors = {
        "model.vision_tower.blocks.0.weight": np.zeros(64, np.float16),
        "lm_head.weight": np.zeros(8, np.float16),
    }
    save_file(tensors, folder / "model-00001-of-00001.safetensors")

    assert read_safetensors(folder).tower == expected


@pytest.mark.parametrize(
    ("config", "method", "formats"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq", ("awq",)),
        ({"quant_method": "gptq", "bits": 4}, "gptq", ("gptq",)),
        ({"quant_method": "fp8"}, "fp8", ("fp8",)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", ("bitsandbytes",)),
        ({"quant_method": "mxfp4"}, "mxfp4", ("mxfp4",)),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, "fp8", ("fp8",)),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "w4a16", ("gptq",)),
        ({"quant_method": "compressed-tensors", "format": "int-quantized"}, "int8", ("int8",)),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "nvfp4", ("nvfp4",)),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", ("nvfp4",)),
        ({"quant_method": "hqq"}, "hqq", ("fp16",)),
    ],
)
def test_quantization(tmp_path: Path, config: dict[str, Any], method: str, formats: tuple[str, ...]) -> None:
    found = read(tmp_path, quantization_config=config)

    assert found.quantization == method
    assert formats_of(found) == formats


def test_quantization_that_an_exporter_wrote_beside_the_configuration(tmp_path: Path) -> None:
    folder = write_safetensors(tmp_path)
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')

    assert read_safetensors(folder).quantization == "fp8"


def test_models_that_answer_with_an_embedding(tmp_path: Path) -> None:
    assert read(tmp_path / "a", architectures=["XLMRobertaModel"]).pooling
    assert read(tmp_path / "b", architectures=["Qwen3ForSequenceClassification"]).pooling
    folder = write_safetensors(tmp_path / "c", architectures=["Qwen3ForCausalLM"])
    assert not read_safetensors(folder).pooling
    (folder / "1_Pooling").mkdir()
    assert read_safetensors(folder).pooling


def test_names_of_older_families(tmp_path: Path) -> None:
    missing = dict.fromkeys(
        ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "max_position_embeddings")
    )
    found = read(tmp_path, **missing, n_embd=4544, n_head=71, n_layer=32, n_positions=2048, multi_query=True)

    assert (found.hidden_size, found.heads, found.kv_heads, found.layers) == (4544, 71, 1, 32)


@pytest.mark.parametrize("value", ["many", -1, 2.5, True, [1, "x"], {"a": 1}])
def test_numbers_that_are_none_say_so(tmp_path: Path, value: object) -> None:
    with pytest.raises(UserError, match="num_hidden_layers: expected a whole number"):
        read(tmp_path, num_hidden_layers=value)


def write(path: Path, architecture: str, **keys: object) -> Path:
    """A GGUF file of one tensor with these keys of its architecture."""
    writer = GGUFWriter(path, architecture)
    full = {"block_count": 6, "context_length": 512, "embedding_length": 64, "attention.head_count": 4, **keys}
    for key, value in full.items():
        name = f"{architecture}.{key}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif value is not None:
            writer.add_uint32(name, int(str(value)))
    writer.add_token_list([f"t{number}" for number in range(32)])
    writer.add_tensor("token_embd.weight", np.zeros((32, 64), np.float16))
    if full.get("expert_count"):
        writer.add_tensor("blk.0.ffn_up_exps.weight", np.zeros((2, 16, 64), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("architecture", "keys", "expected"),
    [
        ("gemma3", {"attention.sliding_window": 1024}, [(1, 4, 16, 0, False), (5, 4, 16, 1024, False)]),
        ("gpt-oss", {"attention.sliding_window": 128}, [(3, 4, 16, 0, False), (3, 4, 16, 128, False)]),
        (
            "gemma4",
            {"attention.sliding_window": 512, "attention.sliding_window_pattern": [True, False] * 3},
            [(3, 4, 16, 0, False), (3, 4, 16, 512, False)],
        ),
        ("mistral3", {"attention.sliding_window": 512}, [(6, 4, 16, 0, False)]),
        ("jamba", {"attention.head_count_kv": [0, 0, 2, 0, 0, 2]}, [(2, 2, 16, 0, False)]),
        ("deci", {"attention.head_count_kv": [1, 1, 2, 0, 2, 2]}, [(2, 1, 16, 0, False), (3, 2, 16, 0, False)]),
        ("mamba2", {"attention.head_count": None}, [(0, 1, 64, 0, False)]),
        ("bert", {}, [(0, 4, 16, 0, False)]),
        (
            "deepseek2",
            {"attention.head_count_kv": 1, "attention.key_length": 576, "attention.value_length": 512},
            [(6, 1, 576, 0, False)],
        ),
    ],
)
def test_layers_of_gguf_files(
    tmp_path: Path, architecture: str, keys: dict[str, object], expected: list[tuple[int, int, int, int, bool]]
) -> None:
    assert kinds(read_gguf(write(tmp_path / "m.gguf", architecture, **keys))) == expected


def test_experts_and_states_of_gguf_files(tmp_path: Path) -> None:
    moe = {"expert_count": 2, "expert_used_count": 2, "expert_feed_forward_length": 16, "expert_shared_count": 1}
    found = read_gguf(write(tmp_path / "moe.gguf", "qwen3moe", feed_forward_length=99, **moe))
    assert found.intermediate_size == 48
    assert found.experts is not None
    assert found.experts.stored_bytes == 2 * 16 * 64 * 2

    ssm = {
        "ssm.inner_size": 128,
        "ssm.state_size": 16,
        "ssm.conv_kernel": 4,
        "attention.head_count_kv": [0, 0, 0, 2, 0, 0],
    }
    assert read_gguf(write(tmp_path / "ssm.gguf", "jamba", **ssm)).state_bytes == 5 * 4 * (128 * 16 + 128 * 3)


def test_an_encoder_file_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a language model"):
        read_gguf(write(tmp_path / "mmproj.gguf", "clip"))


def test_a_profile_without_the_later_fields_is_still_read() -> None:
    whole = resolved_document(Resolved(revision="", sha256="0" * 64, profile=EIGHT_B))
    later = {"quantization", "intermediate_size", "kv_layers", "experts", "tower", "replicated_bytes", "state_bytes"}
    old = {name: value for name, value in whole["profile"].items() if name not in later | {"pooling"}}

    assert load_resolved({**whole, "profile": old}, where="here").profile == EIGHT_B
