"""What the user names on the command line (a fleet file or one source) as a resolved fleet."""

from dataclasses import replace
from pathlib import Path

from aivailable.controller.resolve import resolve, with_absolute_paths
from aivailable.documents import load_fleet, load_snapshot
from aivailable.errors import UserError
from aivailable.fleetfile import parse_fleet
from aivailable.model.fleet import EMPTY_FLEET, Fleet, ModelSpec, Variant
from aivailable.model.names import MODEL_NAME
from aivailable.model.snapshot import Snapshot
from aivailable.model.source import SourceKind, parse_source
from aivailable.seams import Hub


def read_text(path: Path) -> str:
    """The text of a file the user named.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text", hint="a fleet file is TOML text") from error


def fleet_from_file(path: Path, hub: Hub, *, known: Fleet = EMPTY_FLEET) -> Fleet:
    """The fleet of a fleet file, every variant resolved; `known` is the present one, whose pins are kept."""
    if path.suffix == ".json":
        return load_fleet(read_text(path).encode(), where=str(path))
    fleet = parse_fleet(read_text(path), where=str(path))
    return resolve(with_absolute_paths(fleet, path.absolute().parent), hub, known=known)


def snapshot_from_file(path: Path) -> Snapshot:
    """The snapshot of a snapshot file."""
    return load_snapshot(read_text(path).encode(), where=str(path))


def is_fleet_file(target: str) -> bool:
    """Whether the argument of `deploy` names a fleet file rather than a source."""
    return target.endswith((".toml", ".json"))


def model_from_source(source: str, *, name: str | None, replicas: int, context: int, concurrency: int) -> ModelSpec:
    """One model for one source; its name is made from the source unless given.

    Raises:
        UserError: The source is of no known form, or the name is none.
    """
    try:
        parsed = parse_source(source)
    except ValueError as error:
        raise UserError(f"source {source!r}: {error}", hint="or name a fleet file ending in .toml") from error
    if parsed.kind is SourceKind.LOCAL:
        source = str(Path(source).expanduser().absolute())
    chosen = name or Path(parsed.file or parsed.location).name.removesuffix(".gguf").lower()
    if not MODEL_NAME.fullmatch(chosen):
        raise UserError(f"{chosen!r} cannot be a model name", hint="give one with --name")
    return ModelSpec(
        name=chosen,
        variants=(Variant(source=source),),
        replicas=replicas,
        context=context,
        concurrency=concurrency,
    )


def with_model(fleet: Fleet, model: ModelSpec) -> Fleet:
    """The fleet with `model` added, or replaced where one of that name is.

    Raises:
        UserError: Another model has the same slug.
    """
    clash = next((m.name for m in fleet.models if m.slug == model.slug and m.name != model.name), None)
    if clash:
        raise UserError(f"the names {clash!r} and {model.name!r} share the slug {model.slug!r}", hint="use --name")
    if fleet.model(model.name) is None:
        return replace(fleet, models=(*fleet.models, model))
    return replace(fleet, models=tuple(model if m.name == model.name else m for m in fleet.models))
