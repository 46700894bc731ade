"""The weights as an engine holds them on one card, from the bytes in the files."""

from aivailable.model.cards import Vendor
from aivailable.model.fleet import Engine
from aivailable.model.profile import Experts, Profile
from aivailable.vram.launch import Launch

MXFP4_HIDDEN_MULTIPLE = 256
MXFP4_WIDTH_MULTIPLE = 128
MXFP4_WIDTH_MULTIPLE_HOPPER = 64
"""vLLM's kernels for MXFP4 experts want the hidden size and each card's share of the experts' width padded to these
multiples: Marlin, and Triton on compute capability 9.0 (its quantization/mxfp4.py). Observations of gpt-oss: 5 % larger
on one H100, 12 % on four A100s, as this says; an early build on an RTX 3090 did not pad."""

HOPPER = 9.0


def weights_bytes(profile: Profile, launch: Launch) -> float:
    """Bytes of tensors on one card.

    llama.cpp leaves the input embeddings in host memory (file size less them: 0.02 % median error, 33 observations).
    With tensor parallel each card of vLLM holds its share, and a whole copy of what cannot be divided.
    """
    if launch.engine is Engine.LLAMACPP:
        return (profile.weights_bytes - profile.input_embedding_bytes) / launch.cards
    copied = profile.replicated_bytes
    shared = float(profile.weights_bytes - copied)
    if profile.experts and profile.quantization == "mxfp4":
        shared += profile.experts.stored_bytes * (_mxfp4_growth(profile.experts, profile.hidden_size, launch) - 1)
    return shared / launch.cards + copied


def _mxfp4_growth(experts: Experts, hidden_size: int, launch: Launch) -> float:
    hopper = launch.card.vendor is Vendor.NVIDIA and launch.card.compute_capability == HOPPER
    width = -(-experts.width // launch.cards)
    padded = _padded(width, MXFP4_WIDTH_MULTIPLE_HOPPER if hopper else MXFP4_WIDTH_MULTIPLE)
    return _padded(hidden_size, MXFP4_HIDDEN_MULTIPLE) / hidden_size * padded / width


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
