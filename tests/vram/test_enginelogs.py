"""Lines of engines' starts, of several versions and both kinds of memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivailable.vram.enginelogs import Printed, read_log

LLAMACPP_CUDA = """
load_tensors: offloading 32 repeating layers to GPU
load_tensors:        CUDA0 model buffer size =     0.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =     0.00 MiB
load_tensors:   CPU_Mapped model buffer size =   281.81 MiB
load_tensors:        CUDA0 model buffer size =  4403.49 MiB
llama_context:  CUDA_Host  output buffer size =     0.49 MiB
llama_kv_cache:      CUDA0 KV buffer size =   256.00 MiB
sched_reserve:      CUDA0 compute buffer size =   258.50 MiB
sched_reserve:  CUDA_Host compute buffer size =    12.01 MiB
"""

LLAMACPP_CPU = """
0.00.205.579 I load_tensors:          CPU model buffer size =     0.00 MiB
0.00.248.960 I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
0.00.251.813 I llama_context:        CPU  output buffer size =     0.38 MiB
0.00.251.883 I llama_kv_cache:        CPU KV buffer size =    45.00 MiB
0.00.273.335 I sched_reserve:        CPU compute buffer size =    15.64 MiB
"""

VLLM_V0 = """
INFO 01-16 09:40:00 worker.py:238] model weights take 19.86GiB; non_torch_memory takes 0.16GiB; PyTorch activation \
peak memory takes 36.63GiB; the rest of the memory reserved for KV Cache is 14.65GiB.
"""

VLLM_V1 = """
INFO 06-01 10:00:00 [gpu_model_runner.py:1549] Model loading took 15.2683 GiB and 3.4 seconds
INFO 06-01 10:00:20 [gpu_worker.py:227] Available KV cache memory: 18.69 GiB
INFO 06-01 10:00:40 [gpu_model_runner.py:1933] Graph capturing finished in 21 secs, took 2.24 GiB
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (LLAMACPP_CUDA, Printed(weights_mib=4403.49, kv_mib=256.0, activation_mib=258.5)),
        (LLAMACPP_CPU, Printed(weights_mib=92.1, kv_mib=45.0, activation_mib=15.64, on_host=True)),
        (
            VLLM_V0,
            Printed(weights_mib=19.86 * 1024, kv_mib=14.65 * 1024, activation_mib=36.63 * 1024),
        ),
        (VLLM_V1, Printed(weights_mib=15.2683 * 1024, kv_mib=18.69 * 1024, graphs_mib=2.24 * 1024)),
        ("Loading model weights took 5.3128 GB", Printed(weights_mib=5.3128 * 1024)),
        ("", Printed()),
        ("CUDA0 model buffer size = lots MiB\nModel loading took much GiB\n", Printed()),
    ],
    ids=["llama.cpp on a card", "llama.cpp on the CPU", "V0", "V1", "oldest", "nothing", "garbage"],
)
def test_lines_of_a_start(log: str, expected: Printed) -> None:
    assert read_log(log.splitlines()) == expected


def test_buffers_of_several_devices_add_up_and_the_newest_start_counts() -> None:
    lines = [
        "load_tensors: ROCm0 model buffer size = 10.00 MiB",
        "load_tensors: ROCm0 model buffer size = 100.00 MiB",
        "load_tensors: ROCm1 model buffer size = 50.00 MiB",
        "llama_memory_recurrent: ROCm0 RS buffer size = 5.00 MiB",
        "llama_kv_cache: ROCm0 KV buffer size = 7.00 MiB",
    ]
    assert read_log(lines) == Printed(weights_mib=150.0, kv_mib=12.0)


@given(st.lists(st.text(max_size=80), max_size=20))
def test_any_text_is_read_without_a_crash(lines: list[str]) -> None:
    assert not read_log(lines)
