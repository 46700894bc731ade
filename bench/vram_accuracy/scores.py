"""Each observation against the product's terms: relative errors per quantity, and what was left out and why."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from aivailable.model.profile import Profile, WeightsFormat
from aivailable.vram.kvcache import LLAMACPP_WINDOWS, kv_bytes, kv_bytes_per_token
from aivailable.vram.launch import Launch
from aivailable.vram.llamacpp_terms import compute_bytes
from aivailable.vram.margin import ACTIVATION_SHARE, COMPUTE_SHARE, vllm_budget_margin_mib, weights_share
from aivailable.vram.vllm_terms import activation_bytes, non_torch_mib
from aivailable.vram.weights import weights_bytes
from bench.vram_accuracy.facts import MissingFactError, profile_of
from bench.vram_accuracy.rows import GIB, Row

MIB = 1024**2
LOW = 0.01

LLAMACPP_LATENT = (5133,)
"""Before this build llama.cpp kept whole keys and values of MLA models (ggml-org/llama.cpp#12801, April 2025)."""

FAMILIES = re.compile(
    r"gpt-oss|deepseek|gemma|mixtral|mistral|miqu|llava|llama|qwen|phi|yi-|glm|minimax|opt-|starcoder|minicpm", re.I
)


@dataclass(frozen=True, slots=True)
class Error:
    """One quantity of one row: what was measured, the expected value and the claim, relative to the measured one."""

    quantity: str
    row: str
    family: str
    measured: float
    expected: float
    claim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All errors, those of other people's formulas by name, and how many rows were left out for which reason."""

    errors: tuple[Error, ...]
    others: Mapping[str, tuple[float, ...]]
    skipped: Mapping[str, int]


@dataclass(slots=True)
class _Collected:
    errors: list[Error] = field(default_factory=list)
    others: dict[str, list[float]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def compare(rows: Sequence[Row], models: Mapping[str, Any]) -> Found:
    """Every row that has what it takes, for every quantity it shows."""
    got = _Collected()
    for row in rows:
        launch = row.launch()
        if "pipeline parallel" in row.note.lower() or re.search(r"\bPP\d", row.note):
            got.skipped["pipeline parallel: a card holds part of the layers"] += 1
            continue
        facts = models.get(row.model)
        if not isinstance(facts, dict):
            got.skipped["model not among the facts"] += 1
            continue
        latent = row.engine != "llama.cpp" or launch.version >= LLAMACPP_LATENT
        try:
            profile = profile_of(row.model, facts, row.weights, pooling="no lm_head" in row.note, latent=latent)
        except MissingFactError as missing:
            got.skipped[f"fact not published: {missing}"] += 1
            continue
        _compare(row, launch, profile, got)
    return Found(
        errors=tuple(got.errors),
        others={name: tuple(errors) for name, errors in got.others.items()},
        skipped=dict(sorted(got.skipped.items())),
    )


def _compare(row: Row, launch: Launch, profile: Profile, got: _Collected) -> None:
    def add(quantity: str, measured: float, expected: float, claim: float) -> None:
        got.errors.append(
            Error(quantity, row.id, _family(row.model), measured, expected / measured - 1, claim / measured - 1)
        )

    token_bytes = _token_bytes(row, profile, launch)
    if row.kv_token_bytes and row.engine != "ollama":
        add("kv_bytes_per_token", row.kv_token_bytes, token_bytes, token_bytes)
    if row.engine == "llama.cpp" and row.activation_gib:
        peak = compute_bytes(profile, launch) * row.cards / GIB
        add("compute_buffer", row.activation_gib, peak, peak * (1 + COMPUTE_SHARE))
    if not row.vllm:
        return
    peak = activation_bytes(profile, launch) / GIB
    if row.activation_gib:
        add("activation_peak", row.activation_gib, peak, peak * (1 + ACTIVATION_SHARE))
    if profile.format is WeightsFormat.GGUF:
        got.skipped["weights: bytes of a GGUF file are not in the row"] += 1
        return
    weights = weights_bytes(profile, launch) / GIB
    if row.weights_gib:
        add("weights", row.weights_gib, weights, weights * (1 + weights_share(profile)))
    rest = peak + non_torch_mib(launch) / 1024
    margin = vllm_budget_margin_mib(profile, launch, weights * 1024, peak * 1024) / 1024
    remainder = row.remainder_gib
    if remainder is None or remainder <= 0:
        got.skipped["whole need: no utilisation, card size, weights or KV cache"] += 1
        return
    add("remainder", remainder, rest, rest + margin - weights_share(profile) * weights)
    if not row.context or row.weights_gib is None:
        got.skipped["whole need: no max_model_len"] += 1
        return
    truth = row.weights_gib + (row.kv_token_bytes or token_bytes) * row.context / GIB + remainder
    kv = token_bytes * row.context / GIB
    whole = weights + kv + rest
    add("whole_need", truth, whole, whole + margin)
    others = {
        "GPUStack (weights x 1.2 + 2 GiB)": 1.2 * weights + 2,
        "hf-mem (weights + KV cache)": weights + kv,
        "flat (weights + KV cache + 2 GiB)": weights + kv + 2,
    }
    for name, need in others.items():
        got.others.setdefault(name, []).append(need / truth - 1)


def _token_bytes(row: Row, profile: Profile, launch: Launch) -> float:
    """Bytes per token as the row's columns define it; llama.cpp's windows keep less than the context."""
    if row.vllm:
        return kv_bytes_per_token(profile, launch)
    if launch.version >= LLAMACPP_WINDOWS and row.context:
        return kv_bytes(profile, launch) / row.context / launch.concurrency
    return kv_bytes_per_token(profile, launch)


def summary(errors: Sequence[Error]) -> dict[str, dict[str, float]]:
    """The scores of one quantity, as fractions."""
    away = [abs(error.expected) for error in errors]
    over = [error.claim for error in errors]
    return {
        "expected": {"n": len(errors), "median": median(away) if away else 0.0, "p90": p90(away)},
        "claim": {
            "n": len(errors),
            "low_by_1_percent": sum(claim < -LOW for claim in over),
            "over_median": median(over) if over else 0.0,
            "over_p90": p90(over),
        },
    }


def p90(values: Sequence[float]) -> float:
    """The 90th percentile, between the nearest ranks."""
    if len(values) < 2:
        return max(values, default=0.0)
    return quantiles(values, n=10, method="inclusive")[-1]


def _family(model: str) -> str:
    found = FAMILIES.search(model)
    return found[0].lower().strip("-") if found else "other"
