"""What llama.cpp holds on one card beside weights and KV cache: its compute buffer."""

from aivailable.model.profile import Profile
from aivailable.vram.launch import Launch

FLOAT_BYTES = 4
"""llama.cpp computes in fp32 between its matrix products."""

MASK_BYTES = 2
"""Bytes of the attention mask per token of the batch and cell of a slot's context (fp16; seen: 1.0 KiB per cell at 512
tokens)."""

OLD_MASK_BYTES = 6
OLD_HIDDEN_COPIES = 4
"""Older builds kept the mask in fp32 and fp16: one observation of 131,072 cells, 416 MiB, is this to the MiB."""

MLP_COPIES = 3
HIDDEN_COPIES = 5
"""Live copies of the MLP's width (gate, up, product) and of the hidden size at the peak of a layer: compute buffers of
SmolLM2 at 512 to 131,072 cells, read from xllamacpp of October 2026 (within 1 %)."""

OUTPUT_HIDDEN_COPIES = 5.2
"""Hidden states that live beside the logits of all slots (SmolLM2 with 64 and 256 slots)."""

ALL_OUTPUTS_BEFORE = (9500,)
"""Builds before this one reserve logits for every token of the batch, not one for each slot (ggml-org/llama.cpp#23861,
merged in June 2026; the build number is an estimate from 9272 of 22 May)."""


def compute_bytes(profile: Profile, launch: Launch) -> float:
    """The compute buffer: the larger of a layer's peak and the output's."""
    batch = launch.step_tokens
    hidden = FLOAT_BYTES * batch * profile.hidden_size
    if launch.version < ALL_OUTPUTS_BEFORE:
        cells = launch.context * launch.concurrency
        logits = FLOAT_BYTES * batch * profile.vocabulary + hidden
        attention = OLD_MASK_BYTES * batch * cells + OLD_HIDDEN_COPIES * hidden
        # Without flash attention the scores of all heads are kept for all cells.
        scores = FLOAT_BYTES * batch * cells * (profile.heads + 1) + OLD_HIDDEN_COPIES * hidden
        return float(max(logits, attention if launch.flash_attention else scores))
    outputs = min(launch.concurrency, batch)
    width = profile.intermediate_size or 3.5 * profile.hidden_size
    output = FLOAT_BYTES * outputs * profile.vocabulary + OUTPUT_HIDDEN_COPIES * hidden
    layer = (
        MASK_BYTES * batch * launch.context
        + FLOAT_BYTES * MLP_COPIES * batch * width
        + HIDDEN_COPIES * hidden
        + (0 if launch.flash_attention else FLOAT_BYTES * batch * launch.context * profile.heads)
    )
    return max(output, layer)
