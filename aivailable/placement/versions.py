"""Which version of each model is in force: the one deployed, less what does not start of it, else the one before."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from aivailable.model.failure import Failure
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.placement.options import replica_spec
from aivailable.vram.hardware import engine_of


def variant_hashes(fleet: Fleet, spec: ModelSpec, order: int) -> frozenset[str]:
    """The spec hashes that replicas of one variant of a model carry; none where it is not resolved."""
    resolved = spec.variants[order].resolved
    if resolved is None:
        return frozenset()
    engine = engine_of(resolved.profile)
    return frozenset(replica_spec(fleet, spec, order, engine, simulated=simulated).hash8 for simulated in (False, True))


def version_hashes(fleet: Fleet, spec: ModelSpec) -> frozenset[str]:
    """Those of all its variants."""
    return frozenset().union(*(variant_hashes(fleet, spec, order) for order in range(len(spec.variants))))


def in_force(fleet: Fleet, failed: Collection[Failure]) -> Fleet:
    """The fleet with, for each model, the variants that are to be started now.

    In this order: the variants that did not fail; those of the version before, with the numbers of the present one; the
    variants that have rested long enough. None of them: the model keeps what it has and starts nothing.
    """
    if not failed:
        return fleet
    by_hash = {failure.hash8: failure for failure in failed}
    return replace(fleet, models=tuple(_in_force(fleet, spec, by_hash) for spec in fleet.models))


def _in_force(fleet: Fleet, spec: ModelSpec, failed: Mapping[str, Failure]) -> ModelSpec:
    fresh = _without(fleet, spec, failed.keys())
    if len(fresh.variants) == len(spec.variants):
        return spec
    if fresh.variants:
        return fresh
    before = next((p for p in fleet.previous if p.name == spec.name), None)
    if before is not None:
        older = replace(spec, variants=before.variants, context=before.context, concurrency=before.concurrency)
        older = _without(fleet, replace(older, attempt=before.attempt), failed.keys())
        if older.variants:
            return older
    return _without(fleet, spec, {hash8 for hash8, failure in failed.items() if failure.resting})


def _without(fleet: Fleet, spec: ModelSpec, hashes: Iterable[str]) -> ModelSpec:
    """The model with the variants that have none of these hashes."""
    known = frozenset(hashes)
    kept = tuple(v for order, v in enumerate(spec.variants) if not variant_hashes(fleet, spec, order) & known)
    return spec if len(kept) == len(spec.variants) else replace(spec, variants=kept)


def given_up(fleet: Fleet, failed: Iterable[Failure]) -> dict[str, tuple[Failure, ...]]:
    """By model, the failures of the version deployed, where all of its variants failed."""
    by_hash = {failure.hash8: failure for failure in failed}
    found: dict[str, tuple[Failure, ...]] = {}
    for spec in fleet.models:
        of_variants = [
            next((by_hash[h] for h in variant_hashes(fleet, spec, order) if h in by_hash), None)
            for order in range(len(spec.variants))
        ]
        failures = tuple(failure for failure in of_variants if failure is not None)
        if failures and len(failures) == len(of_variants):
            found[spec.name] = failures
    return found


def gone_back(fleet: Fleet, failed: Collection[Failure]) -> frozenset[str]:
    """The models of which all variants deployed failed and an earlier version is in force."""
    lost, bad = given_up(fleet, failed), {failure.hash8 for failure in failed}
    return frozenset(
        spec.name
        for spec in in_force(fleet, failed).models
        if spec.name in lost and spec.variants and not version_hashes(fleet, spec) & bad
    )


def same_version(old: ModelSpec, new: ModelSpec) -> bool:
    """Whether the replicas of one are those of the other: no engine is started anew for the difference."""
    return (old.variants, old.context, old.concurrency) == (new.variants, new.context, new.concurrency)


def succeed(wanted: Fleet, present: Fleet, failed: Collection[Failure], *, retry: bool = False) -> Fleet:
    """The fleet to write over the present one, with what each model can go back to.

    Args:
        wanted: What was asked for.
        present: What is deployed.
        failed: What does not start of that.
        retry: Versions that were given up are tried anew, as versions of their own.
    """
    known = given_up(present, failed)
    running = in_force(present, failed)
    models, previous = [], []
    for spec in wanted.models:
        old, before = present.model(spec.name), next((p for p in present.previous if p.name == spec.name), None)
        if old is not None and same_version(old, spec):
            spec = replace(spec, attempt=old.attempt + (retry and spec.name in known))  # noqa: PLW2901 - the same one
        elif old is not None:
            worked = running.model(spec.name)
            before = worked if worked is not None and worked.variants else before
        models.append(spec)
        if before is not None and not same_version(before, spec):
            previous.append(before)
    return replace(wanted, models=tuple(models), previous=tuple(previous))
