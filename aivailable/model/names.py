"""Names that travel: what clients send, what DNS, job ids and statistics can hold."""

import difflib
import re
from collections.abc import Iterable

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,127}")
SLUG_LENGTH_MAX = 40


def slug(name: str) -> str:
    """The form of a model name that serves DNS, job ids and statistics.

    Lower case, every other character than `a-z0-9` becomes `-`, at most 40 characters.
    """
    return re.sub(r"[^a-z0-9]", "-", name.lower())[:SLUG_LENGTH_MAX].strip("-")


def unsafe_in_job(text: str) -> str | None:
    """Why `text` may not reach a Nomad job, or None when it may.

    `${` and `%{` start interpolation in HCL. Quoting alone does not help: an escaped `$${X}` becomes `${X}`
    for Nomad's client, which would interpolate it. Control characters have no business in a job at all.
    """
    for mark in ("${", "%{"):
        if mark in text:
            return f"`{mark}` would be interpolated by Nomad"
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in text):
        return "control characters are not allowed"
    return None


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint for a name that is not among those known: the nearest one, or all of them."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
