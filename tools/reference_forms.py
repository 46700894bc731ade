"""Jobs as Nomad sees them, the JSON that commands print, and exit codes: from the code that makes them."""

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from reference_keys import table

from aivailable import errors
from aivailable.controller.history import Happened
from aivailable.model.cards import Card, Node, Vendor
from aivailable.model.checkup import Finding
from aivailable.model.failure import Failure
from aivailable.model.fleet import Fleet, ModelSpec, Resolved, Variant
from aivailable.model.footprint import Footprint
from aivailable.model.measurement import Conditions, Measurement
from aivailable.model.plan import CardUse, Deferred, Nearest, Reason, Unplaced
from aivailable.model.profile import Profile, WeightsFormat
from aivailable.model.replica import Replica
from aivailable.model.service import ApiKey
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from aivailable.placement.lookahead import Hole, Survival
from aivailable.rendering.jobs import META, render
from aivailable.settings import Settings, of_a_real_cluster

FORMS: tuple[tuple[type, Mapping[str, str]], ...] = (
    (Snapshot, {}),
    (Node, {"node_class": "class"}),
    (Card, {}),
    (Replica, {}),
    (Measurement, {}),
    (Conditions, {}),
    (Failure, {}),
    (Happened, {}),
    (Unplaced, {}),
    (Reason, {}),
    (Nearest, {}),
    (Deferred, {}),
    (CardUse, {}),
    (Survival, {}),
    (Hole, {}),
    (Footprint, {}),
    (ApiKey, {"secret": ""}),
    (Finding, {}),
)
"""What the JSON consists of; with the fields that have another name in it, or (empty) are left out."""

QWEN = Profile(
    format=WeightsFormat.GGUF,
    architecture="qwen3",
    weights_bytes=5_027_783_488,
    input_embedding_bytes=0,
    layers=36,
    hidden_size=4096,
    heads=32,
    kv_heads=8,
    key_size=128,
    value_size=128,
    vocabulary=151936,
    context_limit=40960,
    weights_type="Q4_K",
)
"""About Qwen3-8B as Q4_K_M."""


def jobs() -> dict[str, str]:
    """The meta of a replica's job, and one whole job."""
    text = _sample_job()
    rows = [(f"`{key}`", meaning) for key, meaning in META.items()]
    return {"meta": table(("key", "meaning"), rows), "a job": f"```hcl\n{text.strip()}\n```"}


def forms() -> dict[str, str]:
    """The fields of everything that JSON consists of."""
    return {"fields": "\n\n".join(_form(kind, named) for kind, named in FORMS)}


def exit_codes() -> str:
    """The codes with the errors that cause them."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    rows = [("0", "done", "")]
    for code in sorted({kind.exit_code for kind in kinds}):
        mine = [kind for kind in kinds if kind.exit_code == code and kind is not errors.AivailableError]
        meaning = " ".join(_first(kind) for kind in mine)
        rows.append((str(code), meaning, ", ".join(f"`{kind.__name__}`" for kind in mine)))
    return table(("code", "meaning", "error"), rows)


def _first(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def _form(kind: type, named: Mapping[str, str]) -> str:
    hints = get_type_hints(kind)
    rows = []
    for field in dataclasses.fields(kind):
        name = named.get(field.name, field.name)
        if name:
            rows.append((f"`{name}`", _words(hints[field.name]), _default(field)))
    text = inspect.getdoc(kind) or ""
    for field_name, name in named.items():
        text = text.replace(f"`{field_name}`", f"`{name}`") if name else text
    return f"### {kind.__name__}\n\n{text}\n\n" + table(("field", "form", "default"), rows)


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return "`{}`" if field.default_factory is not dataclasses.MISSING else "always there"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    plain = {None: "`null`", "": '`""`', (): "`[]`"}
    return plain.get(field.default) or f"`{field.default}`"


def _words(hint: Any) -> str:
    kind, inside = get_origin(hint), get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return " or ".join("`null`" if one is types.NoneType else _words(one) for one in inside)
    if kind is tuple:
        return f"list of {_words(inside[0])}"
    if kind in (Mapping, dict, typing.get_origin(Mapping[str, str])):
        return f"object, {_words(inside[0])} to {_words(inside[1])}"
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return ", ".join(f"`{one.value}`" for one in hint)
    if dataclasses.is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}[hint]


def _sample_job() -> str:
    """The job of the fleet file's example on a card of 24 GiB, as a real cluster gets it."""
    source = "hf:unsloth/Qwen3-8B-GGUF:Qwen3-8B-Q4_K_M.gguf"
    resolved = Resolved(revision="0" * 40, sha256="0" * 64, profile=QWEN)
    model = ModelSpec(name="qwen3-8b", variants=(Variant(source=source, resolved=resolved),))
    card = Card(
        uuid="GPU-5e1c0000-0000-0000-0000-000000000000",
        index=0,
        vendor=Vendor.NVIDIA,
        name="NVIDIA GeForce RTX 3090",
        total_mib=24576,
        compute_capability=8.6,
        free_slices=48,
    )
    node = Node(id="6b1d0000-0000-0000-0000-000000000000", name="node1", cards=(card,))
    made = plan(Fleet(models=(model,), mesh="bridge"), Snapshot(nodes=(node,)))
    (placement,) = made.placements
    return render(placement, of_a_real_cluster(Settings())).text
