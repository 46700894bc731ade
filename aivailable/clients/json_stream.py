"""A list in JSON, entry by entry while it arrives: what it takes in memory is one entry, however long it is."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

_BETWEEN = re.compile(r"[\s,]*")
_DECODER = json.JSONDecoder()


def list_entries(chunks: Iterable[bytes]) -> Iterator[Any]:
    """The entries of a list of objects (`null` counts as an empty one).

    Args:
        chunks: The text in UTF-8, cut anywhere.

    Raises:
        ValueError: It is not such a list, or it ends early.
    """
    decode = codecs.getincrementaldecoder("utf-8")().decode
    text, opened = "", False
    for chunk in chunks:
        text += decode(chunk)
        if not opened:
            text = text.lstrip()
            if not text.startswith("["):
                continue
            text, opened = text[1:], True
        position = _BETWEEN.match(text).end()  # type: ignore[union-attr] # it matches the empty string as well
        while text.startswith("{", position):
            try:
                entry, position = _DECODER.raw_decode(text, position)
            except ValueError:  # the rest of it is still to come
                break
            yield entry
            position = _BETWEEN.match(text, position).end()  # type: ignore[union-attr] # as above
        text = text[position:]
    if text.strip() != ("]" if opened else "null"):
        raise ValueError(f"a list in JSON ended early or is none: {text[:80]!r}")
