"""Resolves the sources of a fleet once: found, pinned, profiled."""

from dataclasses import replace
from pathlib import Path

from aivailable.errors import UserError
from aivailable.model.fleet import Fleet, ModelSpec, Resolved, Variant
from aivailable.model.source import SourceKind, parse_source
from aivailable.seams import Hub
from aivailable.vram.headers import read_profile


def resolve(fleet: Fleet, hub: Hub) -> Fleet:
    """The fleet with every variant resolved; those that are already stay as they are.

    Raises:
        UserError: A source cannot be found or read; the message names the model.
    """
    return replace(fleet, models=tuple(_resolve_model(model, hub) for model in fleet.models))


def with_absolute_paths(fleet: Fleet, folder: Path) -> Fleet:
    """Local sources made absolute; in a fleet file they are relative to the file's folder."""

    def absolute(variant: Variant) -> Variant:
        source = parse_source(variant.source)
        if source.kind is not SourceKind.LOCAL:
            return variant
        return replace(variant, source=str((folder / Path(source.location).expanduser()).resolve()))

    return replace(
        fleet, models=tuple(replace(m, variants=tuple(absolute(v) for v in m.variants)) for m in fleet.models)
    )


def _resolve_model(model: ModelSpec, hub: Hub) -> ModelSpec:
    return replace(model, variants=tuple(_resolve_variant(model, variant, hub) for variant in model.variants))


def _resolve_variant(model: ModelSpec, variant: Variant, hub: Hub) -> Variant:
    if variant.resolved is not None:
        return variant
    try:
        located = hub.locate(parse_source(variant.source))
        profile = read_profile(located.path)
    except UserError as error:
        raise UserError(f"model {model.name}: source {variant.source}: {error.message}", hint=error.hint) from error
    return replace(
        variant,
        resolved=Resolved(revision=located.revision, sha256=located.sha256, profile=profile, path=str(located.path)),
    )
