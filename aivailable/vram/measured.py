"""Measurements in place of estimates: which ones count, and what a footprint is with them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from aivailable.model.footprint import Footprint
from aivailable.model.measurement import Conditions, Measurement
from aivailable.vram.hardware import image
from aivailable.vram.launch import Launch
from aivailable.vram.margin import other_mib

MARGIN_SHARE = 0.02
MARGIN_MIB = 64
"""Margin over what was measured: the same engine under the same flags differs by allocator rounding and fragments; 2 %
of the measured terms and 64 MiB (general knowledge, no observation repeats a start). Where the driver was not asked,
the margin for what logs do not tell stays instead of the 64 MiB."""

LIKELY = (0.5, 2.0)
"""A measurement outside this share of its estimate is an outlier: of the observations' weights none is."""

REPEATED = 3
"""An outlier that so many allocations show is the truth after all."""

LATEST = 5
"""The largest of so many newest measurements counts: what an engine holds varies from start to start."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A footprint with what was measured in it; `terms` names the terms that were."""

    footprint: Footprint
    terms: tuple[str, ...] = ()


def conditions_of(launch: Launch, sha256: str, flags: tuple[str, ...]) -> Conditions:
    """The conditions of a launch with these files and the user's own flags."""
    return Conditions(
        sha256=sha256,
        engine=launch.engine,
        image=image(launch.engine, launch.card),
        card=launch.card.name,
        total_mib=launch.card.total_mib,
        cards=launch.cards,
        simulated=launch.card.simulated,
        flags=flags,
        context=launch.context,
        concurrency=launch.concurrency,
    )


def correct(estimate: Footprint, conditions: Conditions, measurements: Iterable[Measurement]) -> Corrected:
    """The footprint with measured terms in place of estimated ones.

    Only measurements under the same conditions count: another version, card, file or flag makes one stale. Weights
    count for other contexts and concurrencies too. The KV cache stays as planned: its bytes are given to the engine.
    """
    known = [m for m in measurements if m.conditions.same_weights(conditions)]
    exact = [m for m in known if m.conditions == conditions]
    weights_mib = _settled([(m.weights_mib, m) for m in known], estimate.weights_mib)
    activation_mib = _settled([(m.activation_mib, m) for m in exact], estimate.activation_mib)
    graphs_mib = _settled([(m.graphs_mib, m) for m in exact], estimate.graphs_mib, around=512)
    found = {"weights": weights_mib, "activation": activation_mib, "graphs": graphs_mib}
    terms = tuple(term for term, size in found.items() if size is not None)
    if not terms:
        return Corrected(estimate)
    margin_mib = estimate.margin_mib
    if weights_mib is not None and activation_mib is not None:
        measured_mib = weights_mib + activation_mib + (graphs_mib or 0)
        driver_asked = any(m.held_mib is not None for m in exact)
        rest_mib = MARGIN_MIB if driver_asked else other_mib(conditions.engine, conditions.cards)
        margin_mib = min(margin_mib, round(MARGIN_SHARE * measured_mib) + rest_mib)
        if graphs_mib is None:
            margin_mib += estimate.graphs_mib
    return Corrected(
        replace(
            estimate,
            weights_mib=estimate.weights_mib if weights_mib is None else weights_mib,
            activation_mib=estimate.activation_mib if activation_mib is None else activation_mib,
            graphs_mib=estimate.graphs_mib if graphs_mib is None or not estimate.graphs_mib else graphs_mib,
            context_mib=_context_mib(estimate, exact),
            margin_mib=margin_mib,
        ),
        terms,
    )


def _context_mib(estimate: Footprint, exact: list[Measurement]) -> int:
    """The rest of what the driver saw; never less than the estimate, since the peak need not have been reached."""
    rests = [
        m.held_mib - m.weights_mib - m.kv_mib - m.activation_mib - (m.graphs_mib or 0)
        for m in exact
        if m.held_mib is not None
        and m.weights_mib is not None
        and m.kv_mib is not None
        and m.activation_mib is not None
    ]
    return max([estimate.context_mib, *rests[-LATEST:]])


def _settled(seen: list[tuple[int | None, Measurement]], estimate_mib: int, *, around: int = 0) -> int | None:
    """The largest of the newest sizes that are no outliers; `around` MiB more or less never make one."""
    sizes = [(size, m) for size, m in sorted(seen, key=lambda pair: pair[1].at_s) if size is not None]
    least, most = LIKELY[0] * estimate_mib - around, LIKELY[1] * estimate_mib + around
    odd = [(size, m.alloc) for size, m in sizes if not least <= size <= most]
    repeated = {size for size, _ in odd if len({alloc for other, alloc in odd if _alike(size, other)}) >= REPEATED}
    good = [size for size, _ in sizes if least <= size <= most or size in repeated]
    return max(good[-LATEST:], default=None)


def _alike(one: int, other: int) -> bool:
    return abs(one - other) <= 0.1 * max(one, other)
