"""Vision and audio encoders beside a language model, from `config.json`: what the largest item costs."""

from collections.abc import Mapping
from typing import Any

from aivailable.model.profile import Tower
from aivailable.vram.families import Config

PARTS = (
    "vision_tower",
    "vision_model",
    "vision_encoder",
    "visual",
    "vision_embed_tokens",
    "img_processor",
    "audio_tower",
    "audio_encoder",
    "multi_modal_projector",
    "mm_projector",
)
"""Parts of tensor names that belong to an encoder or to what joins it to the language model."""

QWEN_PATCH = 14
QWEN_PIXELS = 12_845_056
"""Qwen2-VL and 2.5-VL take pictures of any size up to this many pixels (their preprocessor_config.json)."""

LLAVA_TILES = 5
INTERN_TILES = 13
MLLAMA_TILES = 4
"""The most tiles a picture is cut into: 4 and an overview (LLaVA-NeXT), 12 and one (InternVL), 4 (Llama 3.2 Vision)."""

SOUND_POSITIONS = 1500
SOUND_TOKENS = 750
"""30 seconds of sound: Whisper's encoder positions, and half of them after Qwen2-Audio's pooling."""


def is_encoder_tensor(name: str) -> bool:
    """Whether a tensor belongs to an encoder."""
    return any(f".{part}" in f".{name}" for part in PARTS)


def tower_of(config: Mapping[str, Any], stored_bytes: int) -> Tower | None:
    """The encoder a model has beside its language model, None for text models.

    Where a configuration has both a vision and an audio encoder the vision one counts: its items are larger.
    """
    vision, audio = config.get("vision_config"), config.get("audio_config")
    if isinstance(vision, dict):
        return _vision(str(config.get("model_type", "")), config, Config(vision), stored_bytes)
    if isinstance(audio, dict):
        part = Config(audio)
        hidden = part.number("hidden_size") or 1280
        return Tower(
            hidden_size=hidden,
            intermediate_size=part.number("intermediate_size") or 4 * hidden,
            layers=part.number("encoder_layers") or part.number("num_hidden_layers") or 32,
            patches=part.number("max_source_positions") or SOUND_POSITIONS,
            tokens=SOUND_TOKENS,
            stored_bytes=stored_bytes,
        )
    return None


def _vision(kind: str, config: Mapping[str, Any], part: Config, stored_bytes: int) -> Tower:
    # Qwen2-VL calls its own width embed_dim and has the language model's under hidden_size.
    hidden = part.number("embed_dim") or part.number("hidden_size") or 1024
    side = (part.number("image_size") or 336) // max(1, part.number("patch_size") or QWEN_PATCH)
    patches, tokens = _item(kind, Config(config), part, side * side)
    return Tower(
        hidden_size=hidden,
        intermediate_size=part.number("intermediate_size") or hidden * _ratio(part),
        layers=part.number("num_hidden_layers") or part.number("depth") or 24,
        patches=patches,
        tokens=tokens,
        stored_bytes=stored_bytes,
    )


def _item(kind: str, config: Config, part: Config, square: int) -> tuple[int, int]:
    """Patches of the largest picture, and the tokens it takes of the context."""
    if kind.startswith("mllama"):
        return MLLAMA_TILES * (square + 1), 0
    if kind.startswith("gemma3"):
        return square, config.number("mm_tokens_per_image") or 256
    if kind in ("llava_next", "llava_onevision"):
        return LLAVA_TILES * (square + 1), LLAVA_TILES * square
    if kind.startswith("internvl"):
        return INTERN_TILES * (square + 1), INTERN_TILES * max(1, square // 4)
    if "image_size" not in part.values and "spatial_merge_size" in part.values:  # Qwen-VL: any size
        patches = QWEN_PIXELS // (part.number("patch_size") or QWEN_PATCH) ** 2
        return patches, max(1, patches // (part.number("spatial_merge_size") or 2) ** 2)
    merge = config.number("spatial_merge_size") or part.number("spatial_merge_size") or 1
    return square, max(1, square // merge**2)


def _ratio(part: Config) -> int:
    ratio = part.values.get("mlp_ratio")
    return round(ratio) if isinstance(ratio, int | float) and not isinstance(ratio, bool) else 4
