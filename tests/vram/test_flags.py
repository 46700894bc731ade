from dataclasses import replace

from aivailable.model.fleet import Engine
from aivailable.vram.flags import engine_flags, memory_share
from aivailable.vram.footprint import MIB, footprint
from aivailable.vram.launch import planned
from tests.samples import EIGHT_B, SMALL, card

T4 = card("Tesla T4", 15360, node="n")
A100 = card("A100", 40960, node="n", compute_capability=8.0)
MI50 = card("MI50", 16368, node="n", gfx="gfx906")
RX7900 = card("RX 7900", 24560, node="n", gfx="gfx1100")


def test_vllm_is_started_with_what_was_planned() -> None:
    need = footprint(EIGHT_B, planned(engine=Engine.VLLM, card=A100, context=8192, concurrency=8))
    flags = engine_flags(
        EIGHT_B, engine=Engine.VLLM, card=A100, context=8192, concurrency=8, footprint=need, extra=("--x",)
    )
    given = dict(zip(flags[::2], flags[1::2], strict=False))

    assert given["--max-model-len"] == "8192"
    assert given["--max-num-seqs"] == "8"
    assert given["--kv-cache-memory-bytes"] == str(need.kv_mib * MIB)
    share = float(given["--gpu-memory-utilization"])
    assert share * A100.total_mib <= need.claim_mib < (share + 0.001) * A100.total_mib
    assert given["--shutdown-timeout"] == "20"
    assert "--dtype" not in given
    assert "--enforce-eager" not in flags
    assert flags[-1] == "--x"


def test_vllm_computes_in_fp16_where_the_card_has_no_bf16() -> None:
    need = footprint(EIGHT_B, planned(engine=Engine.VLLM, card=T4, context=8, concurrency=1))

    def flags(on: object) -> tuple[str, ...]:
        return engine_flags(EIGHT_B, engine=Engine.VLLM, card=on, context=8, concurrency=1, footprint=need)  # type: ignore[arg-type]

    assert flags(T4)[flags(T4).index("--dtype") + 1] == "half"
    assert "--dtype" not in flags(RX7900)


def test_without_room_for_graphs_vllm_makes_none() -> None:
    need = replace(footprint(EIGHT_B, planned(engine=Engine.VLLM, card=A100, context=8, concurrency=1)), graphs_mib=0)

    assert "--enforce-eager" in engine_flags(
        EIGHT_B, engine=Engine.VLLM, card=A100, context=8, concurrency=1, footprint=need
    )


def test_the_share_is_rounded_down_and_below_one() -> None:
    assert memory_share(1000, 3000) == 0.333
    assert memory_share(3000, 3000) == 0.999
    assert memory_share(0, 0) == 0


def test_llama_cpp_gets_all_layers_on_a_device_that_must_be_there_or_says_simulated() -> None:
    need = footprint(SMALL, planned(engine=Engine.LLAMACPP, card=T4, context=2048, concurrency=4))

    def flags(on: object) -> tuple[str, ...]:
        return engine_flags(SMALL, engine=Engine.LLAMACPP, card=on, context=2048, concurrency=4, footprint=need)  # type: ignore[arg-type]

    common = ("-c", "8192", "-np", "4", "--metrics", "-lv", "4")
    assert flags(T4) == (*common, "-ngl", "999", "--device", "CUDA0")
    assert flags(RX7900) == (*common, "-ngl", "999", "--device", "ROCm0")
    assert flags(MI50) == (*common, "-ngl", "999")
    assert flags(replace(T4, simulated=True)) == (*common, "--simulated")
