"""Footprints against the buffer lines of a real llama.cpp: weights, KV cache and compute buffer within 2 %."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aivailable.model.fleet import Engine
from aivailable.vram.footprint import MIB
from aivailable.vram.headers import read_profile
from aivailable.vram.kvcache import kv_bytes
from aivailable.vram.launch import Launch
from aivailable.vram.llamacpp_terms import compute_bytes
from aivailable.vram.weights import weights_bytes
from tests.processes import ROOT
from tests.samples import card
from tests.weights import smollm2

pytestmark = pytest.mark.engine

ANY = card("Tesla T4", 15360, node="n")


def lines(model: Path, context: int, slots: int) -> dict[str, float]:
    """MiB by what the buffer is for; the last line counts, the first come from a dry run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.vram.bufferlines", str(model), str(context * slots), str(slots)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    found = re.findall(r"(model|KV|compute) buffer size = *([\d.]+) MiB", done.stderr + done.stdout)
    return {name: float(size) for name, size in found}


@pytest.mark.parametrize(("context", "slots"), [(512, 1), (8192, 1), (1024, 4), (1000, 2), (256, 256)])
def test_buffers_are_as_large_as_the_terms_say(context: int, slots: int) -> None:
    model = smollm2()
    profile = read_profile(model)
    launch = Launch(engine=Engine.LLAMACPP, card=ANY, context=context, concurrency=slots)

    seen = lines(model, context, slots)

    assert weights_bytes(profile, launch) / MIB == pytest.approx(seen["model"], rel=0.02)
    assert kv_bytes(profile, launch) / MIB == pytest.approx(seen["KV"], rel=0.02)
    assert compute_bytes(profile, launch) / MIB == pytest.approx(seen["compute"], rel=0.02)
