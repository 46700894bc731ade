from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivailable.model.fleet import Engine
from aivailable.vram.flags import engine_flags
from aivailable.vram.footprint import MIB, footprint, kv_bytes_per_token
from aivailable.vram.hardware import image, refusal, requirement
from tests.samples import EIGHT_B, SMALL, card

T4 = card("Tesla T4", 15360, node="n")
A100 = card("A100", 40960, node="n", compute_capability=8.0)
GTX = card("NVIDIA GeForce GTX 1080", 8192, node="n", compute_capability=6.1)
MI50 = card("MI50", 16368, node="n", gfx="gfx906")
RX7900 = card("RX 7900", 24560, node="n", gfx="gfx1100")


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


@pytest.mark.parametrize(
    ("engine", "on", "text"),
    [
        (Engine.VLLM, T4, None),
        (Engine.VLLM, GTX, "vllm needs compute capability 7.5, the card has 6.1"),
        (Engine.VLLM, MI50, "vllm does not run on gfx906"),
        (Engine.VLLM, RX7900, None),
        (Engine.LLAMACPP, GTX, None),
        (Engine.LLAMACPP, MI50, None),
        (
            Engine.LLAMACPP,
            card("K80", 11441, node="n", compute_capability=3.7),
            "llamacpp needs compute capability 5.0, the card has 3.7",
        ),
        (Engine.LLAMACPP, card("odd", 4096, node="n", gfx="gfx700"), "llamacpp does not run on gfx700"),
    ],
)
def test_which_engine_runs_on_which_card(engine: Engine, on: object, text: str | None) -> None:
    found = refusal(engine, SMALL, on)  # type: ignore[arg-type] # a card
    assert (found.text if found else None) == text


def test_images_and_constraints_follow_the_card() -> None:
    assert image(Engine.LLAMACPP, GTX).endswith("server-cuda")
    assert image(Engine.LLAMACPP, MI50).endswith("server-vulkan")
    assert image(Engine.LLAMACPP, RX7900).endswith("server-rocm")
    assert "rocm" in image(Engine.VLLM, RX7900)
    assert requirement(Engine.VLLM, T4, 2048).compute_capability_min == 7.5
    assert "gfx906" in requirement(Engine.LLAMACPP, MI50, 2048).gfx
    assert "gfx906" not in requirement(Engine.LLAMACPP, RX7900, 2048).gfx


def test_vllm_is_started_with_what_was_planned() -> None:
    need = footprint(EIGHT_B, engine=Engine.VLLM, card=A100, context=8192, concurrency=8)
    flags = engine_flags(
        EIGHT_B, engine=Engine.VLLM, card=A100, context=8192, concurrency=8, footprint=need, extra=("--x",)
    )
    given = dict(zip(flags[::2], flags[1::2], strict=False))

    assert given["--kv-cache-memory-bytes"] == str(need.kv_mib * MIB)
    share = float(given["--gpu-memory-utilization"])
    booked_mib = A100.slices_for(need.claim_mib) * 512
    assert share * A100.total_mib <= booked_mib < (share + 0.001) * A100.total_mib
    assert "--dtype" not in given
    assert flags[-1] == "--x"
    on_t4 = engine_flags(EIGHT_B, engine=Engine.VLLM, card=T4, context=8, concurrency=1, footprint=need)
    assert on_t4[on_t4.index("--dtype") + 1] == "half"


def test_llama_cpp_gets_all_layers_or_says_simulated() -> None:
    need = footprint(SMALL, engine=Engine.LLAMACPP, card=T4, context=2048, concurrency=4)
    real = engine_flags(SMALL, engine=Engine.LLAMACPP, card=T4, context=2048, concurrency=4, footprint=need)
    simulated = engine_flags(
        SMALL,
        engine=Engine.LLAMACPP,
        card=replace(T4, simulated=True),
        context=2048,
        concurrency=4,
        footprint=need,
    )

    assert real == ("-c", "8192", "-np", "4", "--metrics", "-ngl", "999")
    assert simulated == ("-c", "8192", "-np", "4", "--metrics", "--simulated")
