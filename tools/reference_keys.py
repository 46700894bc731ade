"""Tables of settings and fleet keys, from the pydantic models that read them."""

import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aivailable import fleetfile
from aivailable.settings import PREFIX, Settings

NONE = "none"
ELSEWHERE = ("nomad", "consul")
"""Settings that other programs' variables make."""
SECTIONS = {
    "[cluster]": fleetfile._Cluster,
    "[[model]]": fleetfile._Model,
    "where": fleetfile._Where,
    "[[model.variant]]": fleetfile._Variant,
}


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings() -> str:
    """Every `AIVAILABLE_…` variable with its meaning, values and default."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name not in ELSEWHERE:
            default = shown(field.get_default(call_default_factory=True), quote="")
            rows.append((f"`{variable(name)}`", told(field), values(field, quote=""), default))
    return table(("variable", "meaning", "values", "default"), rows)


def fleet_keys() -> dict[str, str]:
    """A table for each section of the fleet file."""
    return {name: _section(model) for name, model in SECTIONS.items()}


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def told(field: FieldInfo) -> str:
    """What a field's docstring says, in one line; other settings, known by their underscore, by their variables."""
    text = " ".join((field.description or "").split())
    known = {name for name in Settings.model_fields if "_" in name}
    return re.sub(r"`([a-z_]+)`", lambda m: f"`{variable(m[1])}`" if m[1] in known else m[0], text)


def values(field: FieldInfo, *, quote: str) -> str:
    """What may be given, in words."""
    return _values(field.annotation, field.metadata, quote)


def shown(default: object, *, quote: str) -> str:
    """A default as one would write it."""
    if default is None or default in ("", [], ()):
        return NONE
    if isinstance(default, Path) and default.is_relative_to(Path.home()):
        default = f"~/{default.relative_to(Path.home())}"
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{quote}{text}{quote}`" if isinstance(default, str) else f"`{text}`"


def _section(model: type[BaseModel]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        text, _, worded = " ".join((field.description or "").split()).partition(" Default: ")
        default = "required" if field.is_required() else worded.rstrip(".") or shown(field.default, quote='"')
        rows.append((f"`{field.alias or name}`", text, values(field, quote='"'), default))
    return table(("key", "meaning", "values", "default"), rows)


def _values(annotation: Any, metadata: list[Any], quote: str) -> str:
    kind = get_origin(annotation)
    if kind is typing.Annotated:
        inner, *metadata = get_args(annotation)
        return _values(inner, metadata, quote)
    if kind in (typing.Union, types.UnionType):
        return ", ".join(_values(one, metadata, quote) for one in get_args(annotation) if one is not types.NoneType)
    if kind is Literal:
        return ", ".join(f"`{quote}{one}{quote}`" for one in get_args(annotation))
    if kind is list:
        inner = get_args(annotation)[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return "tables"
        return f"list of {_values(inner, [], quote)}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    names = {bool: "`true`, `false`", str: "text", Path: "path", dict: "table", int: "whole number", float: "number"}
    return names[kind or annotation] + _bounds(metadata)


def _bounds(metadata: list[Any]) -> str:
    least = next((bound.ge for bound in metadata if isinstance(bound, Ge)), None)
    above = next((bound.gt for bound in metadata if isinstance(bound, Gt)), None)
    most = next((bound.le for bound in metadata if isinstance(bound, Le)), None)
    if most is not None:
        return f", {least} to {most}"
    return f", at least {least}" if least is not None else f", more than {above}" if above is not None else ""
