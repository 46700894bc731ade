"""Resolves the sources of a fleet once: found, pinned, profiled."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from aivailable.errors import RetryableError, UserError
from aivailable.model.fleet import EMPTY_FLEET, Fleet, ModelSpec, Resolved, Variant
from aivailable.model.source import SourceKind, parse_source
from aivailable.seams import Hub
from aivailable.vram.headers import read_profile


def resolve(fleet: Fleet, hub: Hub, *, known: Fleet = EMPTY_FLEET) -> Fleet:
    """The fleet with every variant resolved.

    What is resolved already stays as it is. A remote source that `known`, the present fleet, has resolved keeps that
    resolution: it is pinned once, and deploying again neither follows a moving branch nor needs the network.

    Raises:
        UserError: A source cannot be found or read; the message names the model.
        RetryableError: Where a source lies cannot be reached now.
    """
    pinned = {
        variant.source: variant.resolved
        for model in known.models
        for variant in model.variants
        if variant.resolved and parse_source(variant.source).kind in (SourceKind.HUB, SourceKind.HTTPS)
    }
    return replace(fleet, models=tuple(_resolve_model(model, hub, pinned) for model in fleet.models))


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


def _resolve_model(model: ModelSpec, hub: Hub, pinned: Mapping[str, Resolved]) -> ModelSpec:
    return replace(model, variants=tuple(_resolve_variant(model, v, hub, pinned) for v in model.variants))


def _resolve_variant(model: ModelSpec, variant: Variant, hub: Hub, pinned: Mapping[str, Resolved]) -> Variant:
    if variant.resolved is not None:
        return variant
    if variant.source in pinned:
        return replace(variant, resolved=pinned[variant.source])
    try:
        located = hub.locate(parse_source(variant.source))
        profile = read_profile(located.path)
    except (UserError, RetryableError) as error:
        kind = RetryableError if isinstance(error, RetryableError) else UserError
        raise kind(f"model {model.name}: source {variant.source}: {error.message}", hint=error.hint) from error
    path = str(located.path) if located.complete else ""
    return replace(
        variant,
        resolved=Resolved(revision=located.revision, sha256=located.sha256, profile=profile, path=path),
    )
