"""JSON documents that cross a process or a file: the fleet in the key-value store, snapshot files, `--json` output.

Belongs here: the form of those documents, both ways, from and to the dataclasses of `model`. Fields may be added to a
document, never renamed. Reading refuses what has the wrong type and says where; unknown fields of a snapshot are
ignored, so that newer files can be read.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from aivailable.errors import UserError
from aivailable.model.failure import Failure
from aivailable.model.fleet import Fleet, Resolved
from aivailable.model.footprint import Footprint
from aivailable.model.measurement import Measurement
from aivailable.model.plan import Action, Move, Plan, Start
from aivailable.model.service import ApiKey
from aivailable.model.snapshot import Snapshot
from aivailable.model.usage import GatewayUsage

T = TypeVar("T")

_FLEET = TypeAdapter(Fleet)
_SNAPSHOT = TypeAdapter(Snapshot)
_RESOLVED = TypeAdapter(Resolved)
_USAGE = TypeAdapter(GatewayUsage)
_FAILED = TypeAdapter(tuple[Failure, ...])
_MEASURED = TypeAdapter(tuple[Measurement, ...])
_KEYS = TypeAdapter(tuple[ApiKey, ...])


def dump_fleet(fleet: Fleet) -> bytes:
    """The fleet, resolved variants included, as the bytes that the key-value store holds."""
    return _FLEET.dump_json(fleet)


def load_fleet(text: bytes, *, where: str) -> Fleet:
    """The fleet from such bytes.

    Raises:
        UserError: Not a fleet document; `where` names its origin.
    """
    return _load(_FLEET, text, "fleet document", where)


def resolved_document(resolved: Resolved) -> dict[str, Any]:
    """A resolved source as plain values, for the fleet file."""
    document: dict[str, Any] = _RESOLVED.dump_python(resolved, mode="json", exclude_defaults=True)
    return document


def load_resolved(document: object, *, where: str) -> Resolved:
    """A resolved source from such values.

    Raises:
        UserError: A field is missing or of the wrong type; `where` names its origin.
    """
    try:
        return _RESOLVED.validate_python(document)
    except ValidationError as error:
        raise _refused("resolved source", where, error) from error


def dump_measurements(measurements: Sequence[Measurement]) -> bytes:
    """Measurements as the bytes that the key-value store holds."""
    return _MEASURED.dump_json(tuple(measurements))


def load_measurements(text: bytes, *, where: str) -> tuple[Measurement, ...]:
    """Measurements from such bytes.

    Raises:
        UserError: Not such a document; `where` names its origin.
    """
    return _load(_MEASURED, text, "document of measurements", where)


def dump_failures(failures: Sequence[Failure]) -> bytes:
    """Failures as the bytes that the key-value store holds."""
    return _FAILED.dump_json(tuple(failures))


def load_failures(text: bytes, *, where: str) -> tuple[Failure, ...]:
    """Failures from such bytes.

    Raises:
        UserError: Not such a document; `where` names its origin.
    """
    return _load(_FAILED, text, "document of failures", where)


def dump_usage(usage: GatewayUsage) -> bytes:
    """A gateway's usage as the bytes that the key-value store holds."""
    return _USAGE.dump_json(usage)


def load_usage(text: bytes, *, where: str) -> GatewayUsage:
    """A gateway's usage from such bytes.

    Raises:
        UserError: Not such a document; `where` names its origin.
    """
    return _load(_USAGE, text, "document of usage", where)


def keys_document(keys: Sequence[ApiKey]) -> list[dict[str, Any]]:
    """API keys with rights and limits as plain values, without their secrets."""
    document: list[dict[str, Any]] = _KEYS.dump_python(tuple(keys), mode="json", exclude={"__all__": {"secret"}})
    return document


def load_keys(text: bytes, *, where: str) -> tuple[ApiKey, ...]:
    """API keys from such values in JSON; their secrets are empty.

    Raises:
        UserError: Not such a document; `where` names its origin.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {error}", hint="`aivailable keys list --json` prints one") from error
    if isinstance(entries, list):
        entries = [{**entry, "secret": ""} if isinstance(entry, dict) else entry for entry in entries]
    try:
        return _KEYS.validate_python(entries)
    except ValidationError as error:
        raise _refused("list of keys", where, error) from error


def snapshot_document(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot in its file form (`class` for the node's class)."""
    document: dict[str, Any] = _SNAPSHOT.dump_python(snapshot, mode="json")
    for node in document["nodes"]:
        node["class"] = node.pop("node_class")
    return document


def load_snapshot(text: bytes, *, where: str) -> Snapshot:
    """A snapshot from its file form.

    Raises:
        UserError: Not a snapshot document; `where` names its origin.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {error}", hint="`aivailable status --json` prints one") from error
    nodes = document.get("nodes") if isinstance(document, dict) else None
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict) and "class" in node:
            node["node_class"] = node.pop("class")
    try:
        return _SNAPSHOT.validate_python(document)
    except ValidationError as error:
        raise _refused("snapshot", where, error) from error


def plan_document(plan: Plan) -> dict[str, Any]:
    """The form of `plan --json`."""
    return {
        "placements": [
            {
                "model": p.spec.model,
                "variant": p.spec.variant.source,
                "replica": p.replica,
                "node": p.node,
                "cards": list(p.cards),
                "claim_mib": list(p.claim_mib),
                "engine": p.spec.engine.value,
                "flags": list(p.flags),
            }
            for p in plan.placements
        ],
        "actions": [_action_document(action) for action in plan.actions],
        "unplaced": [dataclasses.asdict(u) for u in plan.unplaced],
        "deferred": [dataclasses.asdict(d) for d in plan.deferred],
        "cards": [dataclasses.asdict(c) for c in plan.cards],
        "seconds": plan.seconds,
    }


def footprint_terms(footprint: Footprint) -> dict[str, int]:
    """The terms of a footprint as `--json` output names them, in MiB."""
    return dataclasses.asdict(footprint)


def _action_document(action: Action) -> dict[str, Any]:
    source: str | None = None
    target: str | None = None
    if isinstance(action, Start):
        model, replica, target = action.placement.spec.model, action.placement.replica, action.placement.node
    else:
        model, replica, source = action.replica.model, action.replica.replica, action.replica.node
        target = action.placement.node if isinstance(action, Move) else None
    return {
        "kind": type(action).__name__.lower(),
        "model": model,
        "replica": replica,
        "from": source,
        "to": target,
        "why": action.why,
        "waits_for": list(action.waits_for),
    }


def _load(adapter: TypeAdapter[T], text: bytes, what: str, where: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise _refused(what, where, error) from error


def _refused(what: str, where: str, error: ValidationError) -> UserError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"]) or "(top)"
    return UserError(f"{where}: not a {what}: {path}: {first['msg']}", hint="correct that field")
