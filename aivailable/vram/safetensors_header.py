"""The headers of safetensors files and the `config.json` beside them."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from aivailable.errors import UserError
from aivailable.model.fleet import Profile, WeightsFormat

DTYPE_BITS = {
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "F32": 32,
    "I32": 32,
    "U32": 32,
    "F16": 16,
    "BF16": 16,
    "I16": 16,
    "U16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
"""Bits of one element, by the dtype names of the safetensors format."""

INDEX = "model.safetensors.index.json"


def read_safetensors(folder: Path, *, only: Path | None = None) -> Profile:
    """The profile of a folder in the hub's layout; `only` restricts it to one file.

    Raises:
        UserError: No `config.json`, no weights, a file missing or cut off, or a key missing.
    """
    config = _config(folder / "config.json")
    bytes_by_type: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for file in [only] if only else _files(folder):
        for name, dtype, elements in _tensors(file):
            sizes[name] = elements * DTYPE_BITS.get(dtype, 16) // 8
            bytes_by_type[dtype] += sizes[name]
    heads = int(_need(config, "num_attention_heads", folder))
    hidden_size = int(_need(config, "hidden_size", folder))
    head_size = int(config.get("head_dim") or hidden_size // heads)
    architectures = config.get("architectures") or [config.get("model_type", "unknown")]
    return Profile(
        format=WeightsFormat.SAFETENSORS,
        architecture=str(architectures[0]),
        weights_bytes=sum(sizes.values()),
        input_embedding_bytes=0,
        layers=int(_need(config, "num_hidden_layers", folder)),
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        key_size=head_size,
        value_size=head_size,
        vocabulary=int(_need(config, "vocab_size", folder)),
        context_limit=int(_need(config, "max_position_embeddings", folder)),
        weights_type=bytes_by_type.most_common(1)[0][0],
    )


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}", hint="a safetensors model needs its config.json beside it"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}", hint="download it again") from error
    # Models with a vision or audio tower keep the language model's numbers one level down.
    return {**config, **config["text_config"]} if isinstance(config.get("text_config"), dict) else dict(config)


def _need(config: dict[str, Any], key: str, folder: Path) -> Any:
    if config.get(key) is None:
        raise UserError(
            f"{folder / 'config.json'}: no key {key}", hint="this kind of model is not understood yet; report it"
        )
    return config[key]


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / name for name in names]
        if missing := [file.name for file in files if not file.is_file()]:
            raise UserError(f"{folder}: missing {', '.join(missing)}", hint="download all files of the model")
        return files
    if files := sorted(folder.glob("*.safetensors")):
        return files
    raise UserError(f"{folder}: no .safetensors files", hint="name a folder with config.json and .safetensors files")


def _tensors(file: Path) -> list[tuple[str, str, int]]:
    """Name, dtype and element count of every tensor in a file."""
    try:
        with safe_open(file, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            return [(name, str(part.get_dtype()), math.prod(part.get_shape())) for name, part in slices.items()]
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file}: the safetensors file is damaged or cut off: {error}", hint="download it again"
        ) from error
