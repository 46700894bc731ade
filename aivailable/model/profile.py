"""What the headers of a model's files say: enough to compute a footprint without the files."""

from dataclasses import dataclass
from enum import StrEnum


class WeightsFormat(StrEnum):
    """Container format of a variant's weights; it decides the engine."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLayers:
    """`layers` layers that keep a KV cache of one shape.

    `key_size` and `value_size` are elements per KV head. `window` is how many tokens back a layer looks (0: all of
    them). `latent` layers (MLA) keep one compressed row for all heads: `kv_heads` 1, `key_size` the row (latent and
    rotary part), `value_size` 0; tensor parallel copies it to every card.
    """

    layers: int
    kv_heads: int
    key_size: int
    value_size: int
    window: int = 0
    latent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The routed experts of a mixture: `layers` layers with `count` experts of `width` (intermediate) elements each.

    `stored_bytes` is what their tensors take in the files.
    """

    layers: int
    count: int
    width: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """A vision or audio encoder beside the language model.

    `hidden_size` and `intermediate_size` are its own widths, `patches` the positions it computes for the largest item
    (image, or 30 s of sound), `tokens` what such an item takes of the language model's context, `stored_bytes` its
    tensors in the files.
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    patches: int
    tokens: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Sizes in bytes and element counts.

    `weights_bytes` is the sum over all tensors as stored. `input_embedding_bytes` is the token-embedding table, which
    llama.cpp keeps in host memory unless it is tied to the output. `key_size` and `value_size` are elements per KV head
    and layer; where layers differ, `kv_layers` says so layer by layer and counts. `weights_type` is the field's name of
    the most common tensor type by bytes (`BF16`, `Q4_1`, …), `quantization` the method that safetensors were made with
    (`awq`, `gptq`, `fp8`, `bitsandbytes`, `mxfp4`, `nvfp4`, …; empty: none). `intermediate_size` is the width one token
    passes in a layer's MLP, of a mixture that of its chosen and shared experts together (0: not known).
    `replicated_bytes` is the part of the weights that tensor parallel copies whole to each card (MLA's
    down-projections, routers, norms). `state_bytes` is what one sequence keeps in layers without a KV cache (Mamba).
    `pooling`: it answers with an embedding, not text.
    """

    format: WeightsFormat
    architecture: str
    weights_bytes: int
    input_embedding_bytes: int
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    vocabulary: int
    context_limit: int
    weights_type: str
    quantization: str = ""
    intermediate_size: int = 0
    kv_layers: tuple[KvLayers, ...] = ()
    experts: Experts | None = None
    tower: Tower | None = None
    replicated_bytes: int = 0
    state_bytes: int = 0
    pooling: bool = False

    @property
    def cached_layers(self) -> tuple[KvLayers, ...]:
        """The layers that keep a KV cache, those of one shape together."""
        return self.kv_layers or (
            KvLayers(layers=self.layers, kv_heads=self.kv_heads, key_size=self.key_size, value_size=self.value_size),
        )
