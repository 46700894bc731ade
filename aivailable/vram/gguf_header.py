"""The header of a GGUF file, read with the library `gguf`."""

import re
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType

from aivailable.errors import UserError
from aivailable.model.profile import Experts, KvLayers, Profile, WeightsFormat

GGUF_MAGIC = b"GGUF"

LONG_ARRAY = 4096
"""Arrays from this length on are the tokenizer's (tokens, merges, scores); per-layer arrays are far shorter."""

NUMBER_MAX = 2**31
"""No layer count, width or vocabulary is near it; larger ones would make footprints absurd."""

WINDOW_EVERY = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "cohere2": 4,
    "gpt-oss": 2,
    "llama4": 4,
    "exaone4": 4,
    "olmo2": 4,
    "smallthinker": 4,
}
"""Every how manieth layer sees all tokens, where the header does not say layer by layer (llama.cpp's set_swa_pattern;
general knowledge)."""

ENCODERS = ("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "t5encoder")
"""Architectures that read a text whole and keep no KV cache."""

STATE_ONLY = ("mamba", "mamba2", "rwkv6", "rwkv7")
"""Architectures whose layers keep a state in place of tokens."""

_UNUSUAL = "the file was made by an unusual converter; take one made by llama.cpp's"
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


class CutOffError(UserError):
    """The header does not end before the file does: damaged, or not all of it is here."""


def read_gguf(path: Path) -> Profile:
    """The profile of a GGUF file; of a split one, by its first part, all parts must lie beside it.

    Raises:
        UserError: A part is missing, the file is truncated, or a needed key is absent.
    """
    parts = _parts(path)
    readers = [open_header(part) for part in parts]
    keys = _Keys(path, readers[0])
    architecture = keys.text("general.architecture")
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    bytes_by_type: Counter[str] = Counter()
    for tensor in tensors:
        bytes_by_type[tensor.tensor_type.name] += int(tensor.n_bytes)
    sizes = {str(tensor.name): int(tensor.n_bytes) for tensor in tensors}
    if not sizes:
        raise UserError(f"{path}: the GGUF file holds no tensors", hint="name the file with the model's weights")
    if architecture == "clip":
        raise UserError(
            f"{path}: an encoder for images or sound (mmproj), not a language model", hint="name the model's own file"
        )
    hidden_size = keys.number(f"{architecture}.embedding_length")
    heads = max(1, keys.largest(f"{architecture}.attention.head_count", 0))
    head_size = hidden_size // heads
    layers = keys.number(f"{architecture}.block_count")
    shape = KvLayers(
        layers=layers,
        kv_heads=keys.largest(f"{architecture}.attention.head_count_kv", heads),
        key_size=keys.number(f"{architecture}.attention.key_length", head_size),
        value_size=keys.number(f"{architecture}.attention.value_length", head_size),
    )
    kv = _kv_layers(keys, architecture, shape)
    return Profile(
        format=WeightsFormat.GGUF,
        architecture=architecture,
        weights_bytes=bytes_by_type.total(),
        input_embedding_bytes=sizes.get("token_embd.weight", 0) if "output.weight" in sizes else 0,
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=shape.kv_heads,
        key_size=shape.key_size,
        value_size=shape.value_size,
        vocabulary=keys.number(f"{architecture}.vocab_size", keys.length("tokenizer.ggml.tokens")),
        context_limit=keys.number(f"{architecture}.context_length"),
        weights_type=bytes_by_type.most_common(1)[0][0],
        intermediate_size=_mlp_width(keys, architecture),
        kv_layers=() if kv == (shape,) else kv,
        experts=_experts(keys, architecture, sizes),
        state_bytes=_state_bytes(keys, architecture, layers),
        pooling=f"{architecture}.pooling_type" in keys,
    )


def _kv_layers(keys: "_Keys", architecture: str, shape: KvLayers) -> tuple[KvLayers, ...]:
    """The layers with a KV cache by shape; one entry of no layers where none has."""
    if architecture in ENCODERS or architecture in STATE_ONLY:
        return (replace(shape, layers=0),)
    by_layer = keys.each(f"{architecture}.attention.head_count_kv") or [shape.kv_heads] * shape.layers
    window = keys.number(f"{architecture}.attention.sliding_window", 0)
    pattern = keys.each(f"{architecture}.attention.sliding_window_pattern")
    every = WINDOW_EVERY.get(architecture, 1)
    count: Counter[tuple[int, int]] = Counter()
    for layer, kv_heads in enumerate(by_layer[: shape.layers]):
        windowed = bool(pattern[layer]) if layer < len(pattern) else layer % every < every - 1
        if kv_heads:
            count[kv_heads, window if windowed else 0] += 1
    found = tuple(
        replace(shape, layers=layers, kv_heads=kv_heads, window=span) for (kv_heads, span), layers in count.items()
    )
    return tuple(sorted(found, key=lambda kind: kind.window)) or (replace(shape, layers=0),)


def _mlp_width(keys: "_Keys", architecture: str) -> int:
    """The width that one token passes: the dense MLP's, or that of its chosen and shared experts together."""
    dense = keys.largest(f"{architecture}.feed_forward_length", 0)
    if not keys.number(f"{architecture}.expert_count", 0):
        return dense
    each = keys.number(f"{architecture}.expert_feed_forward_length", dense)
    shared = keys.number(
        f"{architecture}.expert_shared_feed_forward_length",
        each * keys.number(f"{architecture}.expert_shared_count", 0),
    )
    return each * keys.number(f"{architecture}.expert_used_count", 1) + shared


def _experts(keys: "_Keys", architecture: str, sizes: dict[str, int]) -> Experts | None:
    expert_sizes = {name: size for name, size in sizes.items() if "_exps." in name}
    if not expert_sizes:
        return None
    dense = keys.largest(f"{architecture}.feed_forward_length", 0)
    return Experts(
        layers=len({name.split(".")[1] for name in expert_sizes}),
        count=keys.number(f"{architecture}.expert_count", 1),
        width=keys.number(f"{architecture}.expert_feed_forward_length", dense),
        stored_bytes=sum(expert_sizes.values()),
    )


def _state_bytes(keys: "_Keys", architecture: str, layers: int) -> int:
    """What a slot keeps in recurrent layers, fp32: the state and the convolution's window (llama-memory-recurrent)."""
    inner = keys.number(f"{architecture}.ssm.inner_size", 0)
    if not inner:
        return 0
    state = keys.number(f"{architecture}.ssm.state_size", 16)
    taps = keys.number(f"{architecture}.ssm.conv_kernel", 4) - 1
    groups = keys.number(f"{architecture}.ssm.group_count", 0)
    by_layer = keys.each(f"{architecture}.attention.head_count_kv")
    count = by_layer.count(0) if by_layer else layers
    return count * 4 * (inner * state + (inner + 2 * groups * state) * taps)


class HeaderReader(GGUFReader):
    """Walks over the tokenizer's arrays instead of making an object of each of their 100,000 entries.

    A reader of SmolLM2 then takes 0.03 s in place of 1.7 s. A long array keeps its length and no entries.
    """

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type == GGUFValueType.ARRAY:
            order = ">" if self.byte_order == "S" else "<"
            item_type, length = struct.unpack_from(f"{order}IQ", self.data.data, orig_offs)
            if length >= LONG_ARRAY:
                size = 12 + self._array_size(order, orig_offs + 12, item_type, length)
                return size, [length], [0], [GGUFValueType.ARRAY, GGUFValueType(item_type)]
        parts: tuple[int, list[Any], list[int], list[GGUFValueType]] = super()._get_field_parts(orig_offs, raw_type)
        return parts

    def _array_size(self, order: str, start: int, item_type: int, length: int) -> int:
        """Bytes of an array's entries."""
        if item_type != GGUFValueType.STRING:
            return int(length * self._get(start, self.gguf_scalar_to_np[GGUFValueType(item_type)]).nbytes)
        text_length = struct.Struct(f"{order}Q").unpack_from
        at, buffer = start, self.data.data
        for _ in range(length):
            at += 8 + text_length(buffer, at)[0]
        return at - start


class _Keys:
    """The metadata keys of one file, with errors that name file and key."""

    def __init__(self, path: Path, reader: GGUFReader) -> None:
        self._path = path
        self._fields = reader.fields

    def text(self, key: str) -> str:
        """A string."""
        return str(self._contents(key))

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number from 1 on, or the default where the key is absent and there is one."""
        if default is not None and key not in self._fields:
            return default
        return self._whole(key, self._contents(key))

    def largest(self, key: str, default: int | None = None) -> int:
        """A whole number, or the largest of a list with one for each layer."""
        if default is not None and key not in self._fields:
            return default
        value = self._contents(key)
        return (
            max(self._whole(key, one) for one in value)
            if isinstance(value, list) and value
            else self._whole(key, value)
        )

    def _whole(self, key: str, value: Any) -> int:
        """Layers without attention have no KV heads: 0 is a number too, but no model has nothing but zeros."""
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= NUMBER_MAX:
            raise UserError(f"{self._path}: {key}: expected a whole number, got {value!r:.40}", hint=_UNUSUAL)
        return value

    def __contains__(self, key: str) -> bool:
        return key in self._fields

    def each(self, key: str) -> list[int]:
        """A list with a whole number for each layer; empty where the key is absent or holds one for all."""
        value = self._contents(key) if key in self._fields else None
        return [self._whole(key, int(one)) for one in value] if isinstance(value, list) else []

    def length(self, key: str) -> int | None:
        """The length of a long array, None where the key is absent."""
        field = self._fields.get(key)
        return None if field is None else len(field.data) if len(field.data) > 1 else int(field.parts[field.data[0]])

    def _contents(self, key: str) -> Any:
        field = self._fields.get(key)
        if field is None:
            raise UserError(
                f"{self._path}: the GGUF header has no key {key}",
                hint=_UNUSUAL,
            )
        try:
            return field.contents()
        except UnicodeDecodeError as error:
            raise UserError(f"{self._path}: {key}: not UTF-8: {error}", hint=_UNUSUAL) from error


def open_header(path: Path) -> GGUFReader:
    """The header of one GGUF file; where tensor data should be there may be a hole.

    Raises:
        CutOffError: The header is damaged or not whole.
        UserError: The file cannot be read.
    """
    try:
        return HeaderReader(path)
    except (ValueError, IndexError, KeyError, RecursionError, OverflowError, struct.error) as error:
        raise CutOffError(
            f"{path}: the GGUF file is damaged or cut off: {error}", hint="download it again and compare its size"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="check the path") from error


def _parts(path: Path) -> list[Path]:
    """All parts of a split file, in order; the file itself when it is not split."""
    found = _SPLIT.search(path.name)
    if not found:
        return [path]
    first, count = path.name[: found.start()], int(found[2])
    parts = [path.with_name(f"{first}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise UserError(f"{path.parent}: missing parts: {', '.join(missing)}", hint="download all parts of the model")
    return parts
