"""TOML text to Fleet and back; the only place that knows the keys of a fleet file.

Every mistake is told with the file, the key's path, what was expected and the nearest valid name.
"""

import difflib
import tomllib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from aivailable.documents import load_resolved, resolved_document
from aivailable.errors import UserError
from aivailable.model.fleet import IDLE_TIMEOUT_S, QUEUE, Fleet, ModelSpec, Variant, Where
from aivailable.model.names import MODEL_NAME, slug, unsafe_in_job
from aivailable.model.source import parse_source

ERRORS_SHOWN_MAX = 10

OWNED_FLAGS = {
    "-c": "context",
    "--ctx-size": "context",
    "--max-model-len": "context",
    "-np": "concurrency",
    "--parallel": "concurrency",
    "--max-num-seqs": "concurrency",
    "-a": "name",
    "--alias": "name",
    "--served-model-name": "name",
    "-m": "source",
    "--model": "source",
    "-ngl": "",
    "--n-gpu-layers": "",
    "--gpu-layers": "",
    "--gpu-memory-utilization": "",
    "--kv-cache-memory-bytes": "",
    "--host": "",
    "--port": "",
    "--simulated": "",
}
"""Engine flags that the plan sets, with the fleet key that steers them (empty: none does)."""


def _name(value: str) -> str:
    if not MODEL_NAME.fullmatch(value):
        raise ValueError("expected a letter or digit, then at most 127 of letters, digits and . _ / : -")
    if not slug(value):
        raise ValueError("needs at least one letter or digit")
    return value


def _safe(value: str) -> str:
    if why := unsafe_in_job(value):
        raise ValueError(f"forbidden characters: {why}")
    return value


def _source(value: str) -> str:
    parse_source(_safe(value))
    return value


def _flag(value: str) -> str:
    name = _safe(value).split("=", 1)[0]
    if name in OWNED_FLAGS:
        key = OWNED_FLAGS[name]
        raise ValueError(f"{name} is set by the plan" + (f"; use the key `{key}`" if key else ""))
    return value


SafeText = Annotated[str, AfterValidator(_safe)]


class _Section(BaseModel):
    """What the docstring of a key says is its entry in docs/fleet-file.md (tools/reference.py)."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=False, use_attribute_docstrings=True
    )


class _Cluster(_Section):
    mesh: Literal["bridge", "host", "none"] | None = None
    """How gateways reach engines: `"bridge"` by mutual TLS, each engine in a network of its own (needs CNI plugins on
    the nodes), `"host"` by mutual TLS, engines on their host's loopback, `"none"` in plain HTTP. Default: what the
    fleet had; at first `"bridge"` where every node can, else `"host"`. On a simulated rack of one machine always
    `"none"`."""

    driver: Literal["docker", "exec", "raw_exec"] | None = None
    """Nomad's task driver for engines. Default: `"raw_exec"` on simulated cards, else `"docker"`."""


class _Where(_Section):
    vendor: Literal["nvidia", "amd"] | None = None
    """Cards of this vendor only."""

    card: SafeText | None = None
    """Cards whose name fits this shell pattern, e.g. `"*3090*"`; case does not matter."""

    node_class: Annotated[SafeText | None, Field(alias="class")] = None
    """Nodes of this class only (`node.sh --class`)."""


class _Variant(_Section):
    source: Annotated[str, AfterValidator(_source)]
    """Where the weights are; the forms are below. Pinned and measured once, when it is deployed first."""

    flags: list[Annotated[str, AfterValidator(_flag)]] = []
    """Further flags for the engine, as a list of words, e.g. `["--embeddings", "--pooling", "mean"]` for a model that
    embeds. Flags that the plan sets (`-c`, `--max-model-len`, `--port` …) are refused, with the key to use instead."""

    resolved: dict[str, Any] | None = None
    """The pinned revision, checksum and profile, as `aivailable fleet --resolved` prints it; with it a fleet is planned
    without its files."""


class _Model(_Section):
    name: Annotated[str, AfterValidator(_name)]
    """What clients send as `model`: a letter or digit, then at most 127 of letters, digits and `. _ / : -`. Its slug
    (lower case, the rest `-`) must be its own."""

    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many engines."""

    min_available: Annotated[int | None, Field(ge=0)] = None
    """How many must stay serving whatever is planned (updates, moves, drains); at most `replicas`. An update that would
    need to stop more first is refused. Default: 1, of a single replica 0."""

    priority: Annotated[int, Field(ge=1, le=100)] = 50
    """Higher goes first."""

    context: Annotated[int, Field(ge=16, le=16_777_216)] = 8192
    """Tokens one request may use; at most what the model was made for."""

    concurrency: Annotated[int, Field(ge=1, le=65_536)] = 8
    """Requests at full context that each replica holds in VRAM."""

    idle_timeout: Annotated[int, Field(ge=1, le=3600)] = IDLE_TIMEOUT_S
    """Seconds without a byte from the engine before another one is asked (before the first byte) or the answer is given
    up: longer than reading the longest prompt takes, with what waits before it. A change restarts no engine."""

    queue: Annotated[int, Field(ge=0, le=100_000)] = QUEUE
    """Requests per replica that may wait for a place beyond `concurrency`, at each gateway; more are answered 503
    `engine_overloaded` with `Retry-After`."""

    where: _Where = _Where()
    """Restricts the cards; see below. Default: any card."""

    variant: Annotated[list[_Variant], Field(min_length=1)]
    """One or more, in order of preference; see below."""

    @model_validator(mode="after")
    def _available(self) -> "_Model":
        if self.min_available is not None and self.min_available > self.replicas:
            raise ValueError(f"min_available = {self.min_available} is more than replicas = {self.replicas}")
        return self


class _File(_Section):
    cluster: _Cluster = _Cluster()
    model: list[_Model] = []

    @model_validator(mode="after")
    def _distinct(self) -> "_File":
        seen: dict[str, str] = {}
        for model in self.model:
            other = seen.get(slug(model.name))
            if other == model.name:
                raise ValueError(f"the model name {other!r} occurs twice")
            if other is not None:
                raise ValueError(f"the model names {other!r} and {model.name!r} share the slug {slug(other)!r}")
            seen[slug(model.name)] = model.name
        return self


def parse_fleet(text: str, *, where: str) -> Fleet:
    """The fleet that a fleet file describes.

    Args:
        text: The TOML text.
        where: What to call the file in messages.

    Raises:
        UserError: Anything wrong, with key path, expectation and nearest valid name.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not TOML: {error}", hint="correct that line") from error
    try:
        file = _File.model_validate(document)
    except ValidationError as error:
        raise _told(error, where) from error
    return Fleet(
        models=tuple(_model(model, index, where) for index, model in enumerate(file.model)),
        mesh=file.cluster.mesh,
        driver=file.cluster.driver,
    )


def dump_fleet_file(fleet: Fleet, *, resolved: bool = False) -> str:
    """The fleet as TOML text that `parse_fleet` reads back; `resolved` keeps pinned revisions and profiles."""
    document: dict[str, Any] = {}
    cluster = {key: value for key, value in (("mesh", fleet.mesh), ("driver", fleet.driver)) if value}
    if cluster:
        document["cluster"] = cluster
    document["model"] = [_model_table(model, resolved=resolved) for model in fleet.models]
    return tomli_w.dumps(document)


def _model(model: _Model, index: int, where: str) -> ModelSpec:
    return ModelSpec(
        name=model.name,
        replicas=model.replicas,
        min_available=model.min_available,
        priority=model.priority,
        context=model.context,
        concurrency=model.concurrency,
        idle_timeout_s=model.idle_timeout,
        queue=model.queue,
        where=Where(vendor=model.where.vendor, card=model.where.card, node_class=model.where.node_class),
        variants=tuple(
            Variant(
                source=variant.source,
                flags=tuple(variant.flags),
                resolved=load_resolved(variant.resolved, where=f"{where}: model[{index}].variant[{position}].resolved")
                if variant.resolved is not None
                else None,
            )
            for position, variant in enumerate(model.variant)
        ),
    )


def _model_table(model: ModelSpec, *, resolved: bool) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": model.name,
        "replicas": model.replicas,
        "priority": model.priority,
        "context": model.context,
        "concurrency": model.concurrency,
    }
    table |= {
        key: value
        for key, value, default in (
            ("min_available", model.min_available, None),
            ("idle_timeout", model.idle_timeout_s, IDLE_TIMEOUT_S),
            ("queue", model.queue, QUEUE),
        )
        if value != default
    }
    restrictions = {"vendor": model.where.vendor, "card": model.where.card, "class": model.where.node_class}
    if kept := {key: value for key, value in restrictions.items() if value is not None}:
        table["where"] = kept
    table["variant"] = []
    for variant in model.variants:
        entry: dict[str, Any] = {"source": variant.source}
        if variant.flags:
            entry["flags"] = list(variant.flags)
        if resolved and variant.resolved:
            entry["resolved"] = resolved_document(variant.resolved)
        table["variant"].append(entry)
    return table


def _told(error: ValidationError, where: str) -> UserError:
    lines: list[str] = []
    hint = ""
    unknown_keys_first = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    for found in unknown_keys_first[:ERRORS_SHOWN_MAX]:
        location = found["loc"]
        path = key_path(location)
        if found["type"] == "extra_forbidden":
            valid = _keys_at(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), valid, n=1)
            lines.append(f"{where}: {path}: unknown key")
            hint = hint or (f"did you mean `{near[0]}`?" if near else f"valid keys here: {', '.join(valid)}")
        elif found["type"] == "missing":
            lines.append(f"{where}: {path}: missing")
            hint = hint or f"add `{location[-1]}`"
        else:
            given = "" if isinstance(found["input"], dict | list | BaseModel) else f", got {found['input']!r}"
            text = found["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {path + ': ' if path else ''}{text}{given}")
            hint = hint or "correct that value"
    if (more := error.error_count() - len(lines)) > 0:
        lines.append(f"… and {more} more")
    return UserError("\n".join(lines), hint=f"{hint}; nothing was changed" if not hint.endswith("?") else hint)


def key_path(location: Sequence[str | int]) -> str:
    """`("model", 0, "variant", 1, "source")` as `model[0].variant[1].source`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


_SECTIONS: dict[tuple[str, ...], type[_Section]] = {
    (): _File,
    ("cluster",): _Cluster,
    ("model",): _Model,
    ("model", "where"): _Where,
    ("model", "variant"): _Variant,
}


def _keys_at(location: Sequence[str | int]) -> list[str]:
    section = _SECTIONS[tuple(part for part in location if isinstance(part, str))]
    return [field.alias or name for name, field in section.model_fields.items()]
