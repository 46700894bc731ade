"""The header of a GGUF file, read with the library `gguf`."""

import re
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType

from aivailable.errors import UserError
from aivailable.model.profile import Profile, WeightsFormat

GGUF_MAGIC = b"GGUF"

LONG_ARRAY = 4096
"""Arrays from this length on are the tokenizer's (tokens, merges, scores); per-layer arrays are far shorter."""

NUMBER_MAX = 2**31
"""No layer count, width or vocabulary is near it; larger ones would make footprints absurd."""

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
    hidden_size = keys.number(f"{architecture}.embedding_length")
    heads = max(1, keys.largest(f"{architecture}.attention.head_count"))
    head_size = hidden_size // heads
    return Profile(
        format=WeightsFormat.GGUF,
        architecture=architecture,
        weights_bytes=bytes_by_type.total(),
        input_embedding_bytes=sizes.get("token_embd.weight", 0) if "output.weight" in sizes else 0,
        layers=keys.number(f"{architecture}.block_count"),
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=keys.largest(f"{architecture}.attention.head_count_kv", heads),
        key_size=keys.number(f"{architecture}.attention.key_length", head_size),
        value_size=keys.number(f"{architecture}.attention.value_length", head_size),
        vocabulary=keys.number(f"{architecture}.vocab_size", keys.length("tokenizer.ggml.tokens")),
        context_limit=keys.number(f"{architecture}.context_length"),
        weights_type=bytes_by_type.most_common(1)[0][0],
    )


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
