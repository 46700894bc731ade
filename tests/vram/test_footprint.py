from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aivailable.model.fleet import Engine
from aivailable.vram.footprint import MIB, footprint, kv_bytes_per_token
from tests.samples import EIGHT_B, SMALL, card

T4 = card("Tesla T4", 15360, node="n")
A100 = card("A100", 40960, node="n", compute_capability=8.0)


def test_kv_bytes_per_token_of_known_models() -> None:
    assert kv_bytes_per_token(EIGHT_B) == 147_456  # Qwen3-8B: 144 KiB, as vLLM logs it
    assert kv_bytes_per_token(SMALL) == 23_040
    assert kv_bytes_per_token(SMALL, cards=8) == 7_680  # a copy of one head where there are more cards than heads


def test_the_terms_add_up() -> None:
    need = footprint(EIGHT_B, engine=Engine.VLLM, card=A100, context=8192, concurrency=8)

    assert need.weights_mib == -(-EIGHT_B.weights_bytes // MIB)
    assert need.kv_mib == 147_456 * 8192 * 8 // MIB
    assert need.expected_mib == sum(
        (need.weights_mib, need.kv_mib, need.activation_mib, need.graphs_mib, need.context_mib)
    )
    assert need.claim_mib == need.expected_mib + need.margin_mib
    assert need.margin_mib > 0


def test_the_peak_of_vllm_is_the_sampler_with_many_sequences_and_the_transformer_with_few() -> None:
    def activation_mib(concurrency: int, total_mib: int, name: str = "H100") -> int:
        on = card(name, total_mib, node="n", compute_capability=9.0)
        return footprint(EIGHT_B, engine=Engine.VLLM, card=on, context=64, concurrency=concurrency).activation_mib

    assert activation_mib(256, 24_000) == 1432  # 1.40 GiB, as logged for vocabularies of this size
    assert activation_mib(8, 24_000) == activation_mib(1, 24_000) == 200
    assert activation_mib(8, 81_920, "NVIDIA A100-SXM4-80GB") == 200
    assert activation_mib(8, 81_559) == 800  # larger batches by default


def test_llama_cpp_leaves_the_input_embeddings_in_host_memory() -> None:
    untied = replace(SMALL, input_embedding_bytes=50 * MIB)
    with_it = footprint(SMALL, engine=Engine.LLAMACPP, card=T4, context=64, concurrency=1)
    without = footprint(untied, engine=Engine.LLAMACPP, card=T4, context=64, concurrency=1)

    assert with_it.weights_mib - without.weights_mib == 50


@given(
    st.sampled_from(list(Engine)),
    st.integers(16, 100_000),
    st.integers(1, 256),
    st.integers(1, 1000),
    st.integers(1, 16),
)
def test_more_context_or_concurrency_never_needs_less(
    engine: Engine, context: int, concurrency: int, more: int, seats: int
) -> None:
    def claim(c: int, n: int) -> int:
        return footprint(SMALL, engine=engine, card=T4, context=c, concurrency=n).claim_mib

    assert claim(context, concurrency) <= claim(context + more, concurrency)
    assert claim(context, concurrency) <= claim(context, concurrency + seats)
