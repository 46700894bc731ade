"""The headers of safetensors files and the `config.json` beside them."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from aivailable.errors import UserError
from aivailable.model.profile import Profile, WeightsFormat

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

NUMBER_MAX = 2**31
"""No layer count, width or vocabulary is near it; larger ones would make footprints absurd."""


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
    if not sizes:
        raise UserError(f"{folder}: its safetensors files hold no tensors", hint="download all files of the model")
    need = _Numbers(config, folder / "config.json")
    heads, hidden_size = need.whole("num_attention_heads"), need.whole("hidden_size")
    head_size = need.whole("head_dim", default=max(1, hidden_size // heads))
    named = config.get("architectures")
    return Profile(
        format=WeightsFormat.SAFETENSORS,
        architecture=str(named[0] if isinstance(named, list) and named else config.get("model_type", "unknown")),
        weights_bytes=sum(sizes.values()),
        input_embedding_bytes=0,
        layers=need.whole("num_hidden_layers"),
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=need.whole("num_key_value_heads", default=heads),
        key_size=head_size,
        value_size=head_size,
        vocabulary=need.whole("vocab_size"),
        context_limit=need.whole("max_position_embeddings"),
        weights_type=bytes_by_type.most_common(1)[0][0],
    )


class _Numbers:
    """The numbers of a configuration, with errors that name file and key."""

    def __init__(self, config: dict[str, Any], path: Path) -> None:
        self._config = config
        self._path = path

    def whole(self, key: str, *, default: int | None = None) -> int:
        """A whole number from 1 on; absent or null gives the default where there is one."""
        value = self._config.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise UserError(f"{self._path}: no key {key}", hint="this kind of model is not understood yet; report it")
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= NUMBER_MAX:
            raise UserError(f"{self._path}: {key}: expected a whole number, got {value!r:.40}", hint="correct the file")
        return value


def _config(path: Path) -> dict[str, Any]:
    config = _json(path, "a safetensors model needs its config.json beside it")
    # Models with a vision or audio tower keep the language model's numbers one level down.
    return {**config, **config["text_config"]} if isinstance(config.get("text_config"), dict) else config


def _json(path: Path, hint: str) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}", hint="download it again") from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected a JSON object", hint="download it again")
    return document


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        weight_map = _json(index, "download it again").get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{index}: no key weight_map", hint="download it again")
        names = {str(name) for name in weight_map.values()}
        files = [folder / Path(name).name for name in sorted(names)]
        if missing := [file.name for file in files if not file.is_file()]:
            raise UserError(f"{folder}: missing {', '.join(missing)}", hint="download all files of the model")
        return files
    # Without an index one file is the whole model; some repositories hold it a second time in its maker's own layout.
    if (single := folder / "model.safetensors").is_file():
        return [single]
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
