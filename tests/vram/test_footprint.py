"""Footprints by term; what they are worth on real engines: `tests/bench/test_vram_accuracy.py`."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aivailable.model.fleet import Engine
from aivailable.model.profile import Experts, KvLayers, Profile, Tower
from aivailable.vram.footprint import MIB, footprint
from aivailable.vram.kvcache import kv_bytes, kv_bytes_per_token
from aivailable.vram.launch import Launch, planned, version_of
from aivailable.vram.llamacpp_terms import compute_bytes
from aivailable.vram.vllm_terms import activation_bytes, graphs_mib, non_torch_mib
from aivailable.vram.weights import weights_bytes
from tests.samples import EIGHT_B, SMALL, card

T4 = card("Tesla T4", 15360, node="n")
A100 = card("A100", 40960, node="n", compute_capability=8.0)
H100 = card("NVIDIA H100 80GB HBM3", 81_559, node="n", compute_capability=9.0)

WIDE = replace(EIGHT_B, intermediate_size=12_288)
GEMMA_LAYERS = (
    KvLayers(layers=10, kv_heads=16, key_size=128, value_size=128),
    KvLayers(layers=52, kv_heads=16, key_size=128, value_size=128, window=1024),
)
GEMMA = replace(
    EIGHT_B, layers=62, kv_layers=GEMMA_LAYERS, vocabulary=262_208, hidden_size=5376, intermediate_size=21_504
)
LATENT = replace(
    EIGHT_B, layers=27, kv_layers=(KvLayers(layers=27, kv_heads=1, key_size=576, value_size=0, latent=True),)
)
GPT_OSS = replace(
    EIGHT_B,
    quantization="mxfp4",
    hidden_size=2880,
    weights_bytes=13_000_000_000,
    experts=Experts(layers=24, count=32, width=2880, stored_bytes=10_000_000_000),
)


def vllm(**facts: object) -> Launch:
    """vLLM on an A100 with a context of 8192."""
    plain = Launch(engine=Engine.VLLM, card=A100, context=8192, concurrency=1)
    return replace(plain, **facts)  # type: ignore[arg-type] # Launch's own fields


def llamacpp(**facts: object) -> Launch:
    """llama.cpp on a T4 with one slot of 8192 tokens."""
    plain = Launch(engine=Engine.LLAMACPP, card=T4, context=8192, concurrency=1)
    return replace(plain, **facts)  # type: ignore[arg-type] # Launch's own fields


def test_kv_bytes_per_token_of_known_models() -> None:
    assert kv_bytes_per_token(EIGHT_B, vllm()) == 147_456  # Qwen3-8B: 144 KiB, as vLLM logs it
    assert kv_bytes_per_token(SMALL, llamacpp()) == 23_040
    assert kv_bytes_per_token(SMALL, vllm(cards=8)) == 7_680  # a copy of one head where there are more cards than heads
    assert kv_bytes_per_token(EIGHT_B, vllm(key_type="fp8_e4m3", value_type="fp8_e4m3")) == 147_456 / 2
    assert kv_bytes_per_token(SMALL, llamacpp(key_type="q8_0", value_type="q8_0")) == 23_040 * 34 / 64


def test_requests_take_whole_blocks_and_one_is_kept_back() -> None:
    assert kv_bytes(EIGHT_B, vllm(context=8192, concurrency=8)) == 147_456 * (8192 * 8 + 16)
    assert kv_bytes(EIGHT_B, vllm(context=17, concurrency=2)) == 147_456 * (32 * 2 + 16)
    assert kv_bytes(SMALL, llamacpp(context=20, concurrency=3)) == 23_040 * 256 * 3


def test_groups_of_windowed_layers_are_filled_up() -> None:
    a_layer = 2 * 16 * 128 * 2
    now, before = vllm(version=(0, 11, 0), context=32_768, batched_tokens=2048), vllm(version=(0, 8, 0), context=32_768)

    assert kv_bytes_per_token(GEMMA, now) == 70 * a_layer  # 62 layers in seven groups of ten
    assert kv_bytes_per_token(GEMMA, before) == 62 * a_layer
    one_block = 16 * 70 * a_layer
    assert kv_bytes(GEMMA, now) == 10 * a_layer * 32_768 + 60 * a_layer * (3072 + 16) + one_block
    assert kv_bytes(GEMMA, before) == 62 * a_layer * 32_768 + 16 * 62 * a_layer


def test_llama_cpp_keeps_the_window_and_one_batch() -> None:
    a_layer = 2 * 16 * 128 * 2
    assert kv_bytes(GEMMA, llamacpp(context=32_768)) == a_layer * (10 * 32_768 + 52 * 1536)
    assert kv_bytes(GEMMA, llamacpp(context=32_768, version=(3578,))) == a_layer * 62 * 32_768


def test_mla_is_padded_by_one_version_and_divided_by_none() -> None:
    assert kv_bytes_per_token(LATENT, vllm(version=(0, 7, 2))) == 34_560  # 27 x 640 x 2, as its log says
    assert kv_bytes_per_token(LATENT, vllm(version=(0, 9, 0))) == 27 * 576 * 2
    assert kv_bytes_per_token(LATENT, vllm(version=(0, 9, 0), cards=4)) == 27 * 576 * 2


def test_experts_in_mxfp4_are_padded_for_the_kernels() -> None:
    stored, plain = 10_000_000_000, 3_000_000_000
    hidden = 3072 / 2880
    assert weights_bytes(GPT_OSS, vllm(card=H100)) == plain + stored * hidden
    four = (plain + stored * hidden * 768 / 720) / 4
    assert abs(weights_bytes(GPT_OSS, vllm(cards=4)) - four) < 1
    assert weights_bytes(replace(GPT_OSS, quantization=""), vllm()) == plain + stored


def test_what_cannot_be_divided_is_copied_to_every_card() -> None:
    model = replace(EIGHT_B, weights_bytes=1000, replicated_bytes=200)
    assert weights_bytes(model, vllm(cards=4)) == 400


def test_the_terms_add_up() -> None:
    need = footprint(EIGHT_B, vllm(context=8192, concurrency=8))

    assert need.weights_mib == -(-EIGHT_B.weights_bytes // MIB)
    assert need.kv_mib == 147_456 * 8192 * 8 // MIB + 3
    assert need.expected_mib == sum(
        (need.weights_mib, need.kv_mib, need.activation_mib, need.graphs_mib, need.context_mib)
    )
    assert need.claim_mib == need.expected_mib + need.margin_mib
    assert need.margin_mib > 0


def test_the_peak_of_vllm_is_the_sampler_with_many_sequences_and_the_transformer_with_few() -> None:
    def gib(launch: Launch) -> float:
        return round(activation_bytes(WIDE, launch) / 1024**3, 2)

    assert gib(vllm(concurrency=256)) == 1.4  # as logged for vocabularies of this size
    assert gib(vllm(concurrency=8)) == gib(vllm(concurrency=1)) == 0.2
    assert gib(vllm(concurrency=8, card=H100)) == 0.81  # larger batches by default
    assert gib(vllm(concurrency=8, card=replace(H100, name="NVIDIA A100-SXM4-80GB"))) == 0.2
    assert gib(vllm(concurrency=256, batched_tokens=32_768)) == 3.25
    assert activation_bytes(replace(WIDE, pooling=True), vllm(concurrency=256)) < activation_bytes(WIDE, vllm()) * 1.01
    assert gib(vllm(context=64)) == 0.01  # a step is no larger than all requests


def test_an_encoder_counts_where_it_is_the_larger_one() -> None:
    tower = Tower(
        hidden_size=1152, intermediate_size=4304, layers=27, patches=4096, tokens=256, stored_bytes=834_000_000
    )
    seeing = replace(GEMMA, tower=tower)
    on_four = vllm(version=(0, 8, 0), context=65_536, concurrency=64, batched_tokens=16_384, cards=4)

    assert 3.73 * 0.97 < activation_bytes(seeing, on_four) / 1024**3 < 3.73 * 1.04  # as its log says
    assert activation_bytes(seeing, on_four) > activation_bytes(GEMMA, on_four)
    crossing = replace(seeing, tower=replace(tower, tokens=0))
    assert activation_bytes(crossing, vllm(concurrency=128)) == 2 * activation_bytes(crossing, vllm(concurrency=64))


def test_memory_outside_torch_and_graphs_follow_the_version() -> None:
    assert [non_torch_mib(launch) for launch in (vllm(), vllm(card=H100), vllm(cards=2))] == [56, 133, 307]
    assert non_torch_mib(vllm(version=(0, 6, 4), card=H100, cards=8)) == 8 * 987
    assert graphs_mib(EIGHT_B, vllm(eager=True)) == 0
    assert graphs_mib(EIGHT_B, vllm(concurrency=256)) == 512
    assert graphs_mib(EIGHT_B, vllm(concurrency=8)) == 100
    assert graphs_mib(EIGHT_B, vllm(version=(0, 9, 0))) == 36 * 37
    assert graphs_mib(EIGHT_B, vllm(version=(0, 6, 0))) == 236


def test_llama_cpp_leaves_the_input_embeddings_in_host_memory() -> None:
    untied = replace(SMALL, input_embedding_bytes=50 * MIB)

    assert footprint(SMALL, llamacpp()).weights_mib - footprint(untied, llamacpp()).weights_mib == 50


def test_builds_before_2026_06_keep_logits_for_the_whole_batch() -> None:
    small = replace(SMALL, intermediate_size=1536)
    old = compute_bytes(small, llamacpp(version=(5000,))) / MIB

    assert 97 < old < 98  # 96 MiB of logits
    assert compute_bytes(small, llamacpp()) / MIB < 25
    assert compute_bytes(small, llamacpp(flash_attention=False)) / MIB > 160


def test_flags_of_the_user_that_change_what_is_held_are_seen() -> None:
    def launched(engine: Engine, *flags: str) -> Launch:
        return planned(engine=engine, card=A100, context=64, concurrency=2, flags=flags)

    given_vllm = launched(Engine.VLLM, "--kv-cache-dtype", "fp8", "--max-num-batched-tokens=4096", "--enforce-eager")
    assert (given_vllm.key_type, given_vllm.step_tokens, given_vllm.eager) == ("fp8", 4096, True)
    given_llamacpp = launched(Engine.LLAMACPP, "-ctk", "q8_0", "-fa", "off", "-ub", "1024")
    assert (given_llamacpp.key_type, given_llamacpp.value_type) == ("q8_0", "auto")
    assert (given_llamacpp.flash_attention, given_llamacpp.step_tokens) == (False, 1024)
    assert launched(Engine.VLLM, "--enforce-eager", "--seed").eager
    assert launched(Engine.VLLM).version == version_of("v0.32.0")


@given(
    st.sampled_from([EIGHT_B, GEMMA, LATENT]),
    st.sampled_from(list(Engine)),
    st.integers(16, 100_000),
    st.integers(1, 256),
    st.integers(1, 1000),
    st.integers(1, 16),
)
def test_more_context_or_concurrency_never_needs_less(
    profile: Profile, engine: Engine, context: int, concurrency: int, more: int, seats: int
) -> None:
    def claim(c: int, n: int) -> int:
        return footprint(profile, Launch(engine=engine, card=T4, context=c, concurrency=n)).claim_mib

    assert claim(context, concurrency) <= claim(context + more, concurrency)
    assert claim(context, concurrency) <= claim(context, concurrency + seats)
