"""Why replicas have no place: one reason per rule, and the smallest changes that would give them one."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from aivailable.model.fleet import Engine, ModelSpec
from aivailable.model.plan import Nearest, Reason, Unplaced
from aivailable.model.profile import Profile
from aivailable.placement.judge import No
from aivailable.placement.options import Option
from aivailable.placement.rack import Rack
from aivailable.placement.repair import covering
from aivailable.placement.state import Board, Held, Item, ModelState
from aivailable.vram.footprint import footprint
from aivailable.vram.hardware import engine_of
from aivailable.vram.launch import planned

MIN_AVAILABLE = "min_available"
"""The rule of a model that its own update must not interrupt."""

NEAREST_SHOWN = 3
CONTEXT_STEP = 256
FOUR_BIT_SHARE = 0.3
"""Size of 4-bit weights over that of 16-bit ones: 4.25 to 4.9 bits by AWQ, GPTQ or Q4_K_M, embeddings kept at 16."""


def unplaced(
    rack: Rack, board: Board, state: ModelState, occupants: Callable[[int], list[Item]], deferred: int = 0
) -> Unplaced | None:
    """The replicas of a model that found no place, all for the same reasons; None when every one has its place.

    The last `deferred` of them do not count: they find one when others of their model serve.
    """
    missing = state.spec.replicas - state.placed - deferred
    if missing <= 0:
        return None
    free = next(n for n in range(len(state.numbers) + 1) if n not in state.numbers)
    first = min((item.number for item in state.lost), default=free)
    return Unplaced(
        model=state.spec.name,
        replica=first,
        count=missing,
        reasons=(*_held(state), *_reasons(rack, state)),
        would_help=(*_may_be_fewer(state), *_would_help(rack, board, state, occupants)),
    )


def _held(state: ModelState) -> Iterator[Reason]:
    if state.held is Held.MIN_AVAILABLE:
        text = (
            f"there is no room for a new replica beside the old ones, and none of these may stop before it starts: "
            f"{state.serving} serve, min_available = {state.spec.kept_serving}"
        )
        yield Reason(rule=MIN_AVAILABLE, count=0, text=text)


def _may_be_fewer(state: ModelState) -> Iterator[str]:
    if state.held is Held.MIN_AVAILABLE and state.serving:
        yield f"min_available = {state.serving - 1}"


def _reasons(rack: Rack, state: ModelState) -> Iterator[Reason]:
    kinds: dict[str, set[int]] = {}
    nearest: dict[str, dict[int, tuple[int, str]]] = {}

    def note(rule: str, kind: int, shown: list[tuple[int, int, str]]) -> None:
        kinds.setdefault(rule, set()).add(kind)
        for card, short_mib, text in shown:
            known = nearest.setdefault(rule, {}).get(card)
            if known is None or short_mib < known[0]:
                nearest[rule][card] = (short_mib, text)

    for refusal in state.options.refused:
        members = rack.members[refusal.kind]
        note(
            refusal.no.rule, refusal.kind, [(c, refusal.no.short_mib, refusal.no.text) for c in members[:NEAREST_SHOWN]]
        )
    for option in (o for group in state.options.by_variant for o in group):
        slice_mib = rack.kinds.all[option.kind].slice_mib
        if too_few(rack, option):
            short_mib = _alone_mib(option) - rack.kinds.all[option.kind].slices * slice_mib
            text = (
                f"needs {_alone_mib(option)} MiB, more than the whole card has; no node has {option.cards} equal ones"
            )
            note("card size", option.kind, [(c, short_mib, text) for c in rack.members[option.kind][:NEAREST_SHOWN]])
            continue
        each = "on the card" if option.cards == 1 else f"on {option.cards} equal cards of one node"
        text = f"needs {option.slices * slice_mib} MiB, more than is free {each}"
        below = option.slices if option.cards == 1 else rack.kinds.all[option.kind].slices + 1
        freest = [c for _, c in zip(range(NEAREST_SHOWN), rack.freest(option.kind, below), strict=False)]
        shown = [(c, max(0, option.slices - max(rack.free[c], 0)) * slice_mib, text) for c in freest]
        note("free memory", option.kind, shown)
    for rule, found in kinds.items():
        if count := sum(len(rack.members[kind]) for kind in found):
            closest = sorted(nearest[rule].items(), key=lambda entry: (entry[1][0], entry[0]))[:NEAREST_SHOWN]
            yield Reason(
                rule=rule,
                count=count,
                text=closest[0][1][1],
                nearest=tuple(
                    Nearest(node=rack.nodes[rack.node_of[c]].name, card=rack.cards[c].name, short_mib=short_mib)
                    for c, (short_mib, _) in closest
                ),
            )


def too_few(rack: Rack, option: Option) -> bool:
    """Whether no node has as many equal cards as the option needs, free or not."""
    return option.cards > 1 and not any(
        sum(rack.kind_of[card] == option.kind for card in rack.in_nodes[node]) >= option.cards
        for node in rack.nodes_of(option.kind)
    )


def _alone_mib(option: Option) -> int:
    return option.need.alone_mib if option.need is not None else 0


def _would_help(rack: Rack, board: Board, state: ModelState, occupants: Callable[[int], list[Item]]) -> Iterator[str]:
    """The smallest changes that would place one more replica, judged on the cards that only lack memory."""
    near = _nearest_short(rack, state)
    if near is None:
        limits = {
            v.resolved.profile.context_limit
            for v in state.spec.variants
            if v.resolved and any(r.no.rule == "context" for r in state.options.refused)
        }
        if limits:
            yield f"context = {max(limits)}"
        return
    order, card, need_mib, free_mib, whole = near
    name, node = rack.cards[card].name, rack.nodes[rack.node_of[card]].name
    if not whole:
        group = covering(board, occupants(card), card, -(-(need_mib - free_mib) // rack.slice_mib(card)))
        stopped = ", ".join(f"{i.model.spec.name} replica {i.number} (priority {i.model.spec.priority})" for i in group)
        yield f"{need_mib - free_mib} MiB freed on {name} ({node})" + (f", by stopping {stopped}" if stopped else "")
    yield f"a card with {need_mib} MiB free"
    profile = _profile(state.spec, order)
    has_mib = rack.cards[card].slices * rack.slice_mib(card) if whole else free_mib

    def fits(**change: int) -> bool:
        return _need_mib(rack, card, state.spec, profile, **change) <= has_mib

    if _is_16_bit(state.spec, profile) and (lighter := _four_bit(profile)):
        lighter_mib = _need_mib(rack, card, state.spec, lighter)
        if lighter_mib <= has_mib:
            yield f"a variant of 4 bits, AWQ or GPTQ (about {lighter_mib} MiB, fits {name} on {node})"
    if fewer := _largest(state.spec.concurrency, lambda n: fits(concurrency=n)):
        yield f"concurrency = {fewer} (fits {name} on {node})"
    if shorter := _largest(state.spec.context // CONTEXT_STEP, lambda n: fits(context=n * CONTEXT_STEP)):
        yield f"context = {shorter * CONTEXT_STEP} (fits {name} on {node})"


def _nearest_short(rack: Rack, state: ModelState) -> tuple[int, int, int, int, bool] | None:
    """Variant, card, MiB needed and MiB free of the card that lacks least; whether even the whole card is too small."""
    found: list[tuple[int, int, int, int, int, bool]] = []
    for refusal in state.options.refused:
        no: No = refusal.no
        if no.rule == "card size" and no.need_mib and rack.members[refusal.kind]:
            card = rack.members[refusal.kind][0]
            found.append((no.short_mib, card, refusal.order, no.need_mib, no.need_mib - no.short_mib, True))
    for option in (o for group in state.options.by_variant for o in group):
        if option.cards > 1:
            if rack.members[option.kind] and too_few(rack, option):
                whole_mib = rack.kinds.all[option.kind].slices * rack.kinds.all[option.kind].slice_mib
                alone_mib, card = _alone_mib(option), rack.members[option.kind][0]
                found.append((alone_mib - whole_mib, card, option.order, alone_mib, whole_mib, True))
            continue
        slice_mib = rack.kinds.all[option.kind].slice_mib
        for card in rack.freest(option.kind, option.slices):
            free_mib, need_mib = max(rack.free[card], 0) * slice_mib, option.slices * slice_mib
            found.append((need_mib - free_mib, card, option.order, need_mib, free_mib, False))
            break
    if not found:
        return None
    _, card, order, need_mib, free_mib, whole = min(found)
    return order, card, need_mib, free_mib, whole


def _profile(spec: ModelSpec, order: int) -> Profile:
    resolved = spec.variants[order].resolved
    if resolved is None:
        raise AssertionError("a memory rule is only reached with a profile")
    return resolved.profile


def _need_mib(
    rack: Rack, card: int, spec: ModelSpec, profile: Profile, *, context: int = 0, concurrency: int = 0
) -> int:
    sample = rack.cards[card]
    launch = planned(
        engine=engine_of(profile),
        card=sample,
        context=context or spec.context,
        concurrency=concurrency or spec.concurrency,
    )
    need = footprint(profile, launch)
    return sample.slices_for(need.claim_mib) * sample.slice_mib


def _is_16_bit(spec: ModelSpec, profile: Profile) -> bool:
    return (
        engine_of(profile) is Engine.VLLM
        and profile.weights_type.upper() in ("BF16", "F16")
        and len(spec.variants) == 1
    )


def _four_bit(profile: Profile) -> Profile:
    """The profile with weights as a 4-bit quantisation would have them, roughly."""
    return replace(profile, weights_bytes=round(profile.weights_bytes * FOUR_BIT_SHARE))


def _largest(below: int, fits: Callable[[int], bool]) -> int:
    """The largest n in 1..below-1 that fits (need grows with n), or 0."""
    low, high = 0, below - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
