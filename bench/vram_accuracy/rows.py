"""Observations: one row of the CSV files -> what was measured and the launch it was measured with."""

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from aivailable.errors import UserError
from aivailable.model.cards import Card, Vendor
from aivailable.model.fleet import Engine
from aivailable.vram.cardtable import find_known, with_memory
from aivailable.vram.launch import V1_ENGINE, Launch, version_of

GIB = 1024**3

LARGE_SEQUENCES = 1024
SEQUENCES = 256
LARGE_SEQUENCES_FROM = (0, 8, 3)
"""vLLM's default of `--max-num-seqs`: 256, and 1,024 on cards of 70 GiB and more that are no A100 (its arg_utils.py;
which release brought it: general knowledge)."""

UNKNOWN_CONTEXT = 8192
"""Stands in where a log does not show the context; it only bounds how many tokens a step has."""

KNOWN = re.compile(r"(H100|H200|H800|A100|A800|B200|A10G?|L40S?|L4|T4G?|RTX \d{4}|P6000|RX \d{4}|MI\d+)")
"""What of a log's name for a card the card table knows it by."""

V0_GONE = (0, 10, 0)
LAST_V0 = (0, 7, 99)
"""Until it was removed, V0 ran beside V1 where that could not; only V0's log told the memory outside torch apart, so a
row of those versions that has it is V0's and is computed as the last version that had V0 alone."""

RELEASED = {
    (2024, 6): (0, 5, 0),
    (2024, 9): (0, 6, 0),
    (2024, 11): (0, 6, 4),
    (2024, 12): (0, 6, 5),
    (2025, 1): (0, 6, 6),
    (2025, 2): (0, 7, 2),
    (2025, 3): (0, 8, 0),
    (2025, 6): (0, 9, 0),
    (2025, 8): (0, 10, 0),
    (2025, 10): (0, 11, 0),
}
"""Versions of vLLM by month, for rows whose version is a date ("dev 2024-12"); from its release pages, recalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One observation; sizes in GiB per card as its log gives them, None where it does not."""

    id: str
    engine: str
    engine_version: str
    card: str
    total_mib: float | None
    cards: int
    model: str
    weights: str
    context: int | None
    sequences: int | None
    utilisation: float | None
    kv_type: str
    eager: bool
    batched_tokens: int
    note: str
    weights_gib: float | None
    kv_gib: float | None
    kv_tokens: float | None
    activation_gib: float | None
    non_torch_gib: float | None

    @property
    def vllm(self) -> bool:
        """Whether vLLM printed it."""
        return self.engine == "vllm"

    @property
    def remainder_gib(self) -> float | None:
        """What vLLM's budget holds beside weights and KV cache."""
        if not self.vllm or not self.utilisation or not self.total_mib or not self.weights_gib or not self.kv_gib:
            return None
        return self.utilisation * self.total_mib / 1024 - self.weights_gib - self.kv_gib

    @property
    def kv_token_bytes(self) -> float | None:
        """Bytes one token takes, by the log's own sizes."""
        return self.kv_gib * GIB / self.kv_tokens if self.kv_gib and self.kv_tokens else None

    def launch(self) -> Launch:
        """How the engine was launched; the engine's defaults stand in for flags that the log does not show."""
        version = _dated(self.engine_version) or version_of(self.engine_version)
        if not self.vllm:
            build = re.match(r"(\d{3,5})\b", self.engine_version)
            version = (int(build[1]),) if build else (0,)
        if self.vllm and V1_ENGINE <= version < V0_GONE and self.non_torch_gib is not None:
            version = LAST_V0
        card = _card(self.card, int(self.total_mib or 0))
        default = Launch(engine=Engine.VLLM, card=card, context=1, concurrency=1)
        large = default.large_card and version >= LARGE_SEQUENCES_FROM
        sequences = self.sequences or ((LARGE_SEQUENCES if large else SEQUENCES) if self.vllm else 1)
        return Launch(
            engine=Engine.VLLM if self.vllm else Engine.LLAMACPP,
            card=card,
            context=self.context or UNKNOWN_CONTEXT,
            concurrency=sequences,
            # llama.cpp splits layers: its rows are sums over devices, as one device would hold them.
            cards=self.cards if self.vllm else 1,
            version=version,
            batched_tokens=self.batched_tokens,
            key_type=self.kv_type,
            value_type=self.kv_type,
            eager=self.eager,
            flash_attention="flash_attn=0" not in self.note,
        )


def read_rows(observations: Path, extra: Path | None) -> list[Row]:
    """All rows; further columns are ignored.

    Raises:
        UserError: A file cannot be read, or lacks the columns.
    """
    more = {line.get("id", ""): line for line in _lines(extra)} if extra else {}
    lines = _lines(observations)
    if lines and "id" not in lines[0]:
        raise UserError(f"{observations}: no column id", hint="name a CSV file of observations")
    return [_row(line, more.get(line["id"], {})) for line in lines]


def _row(line: dict[str, str], more: dict[str, str]) -> Row:
    whole = _whole(line.get("n_gpus_tp"))
    return Row(
        id=line["id"],
        engine=line.get("engine") or "",
        engine_version=line.get("engine_version") or "",
        card=line.get("gpu_model") or "",
        total_mib=_number(line.get("gpu_total_mib")),
        cards=whole or 1,
        model=line.get("model_id") or "",
        weights=line.get("weight_dtype_or_quant") or "",
        context=_whole(line.get("max_model_len")),
        sequences=_whole(line.get("max_num_seqs")),
        utilisation=_number(line.get("gpu_memory_utilization")),
        kv_type=line.get("kv_cache_dtype") or "auto",
        eager=(line.get("enforce_eager") or "").strip().lower() == "true",
        batched_tokens=_whole(more.get("max_num_batched_tokens")) or 0,
        note=more.get("note") or "",
        weights_gib=_number(line.get("weights_gib")),
        kv_gib=_number(line.get("kv_cache_gib")),
        kv_tokens=_number(line.get("kv_cache_tokens")),
        activation_gib=_number(line.get("activation_peak_gib")),
        non_torch_gib=_number(line.get("non_torch_gib")),
    )


def _dated(text: str) -> tuple[int, ...] | None:
    found = re.search(r"\b(20\d\d)-(\d\d)\b", text)
    if not found:
        return None
    known = [version for month, version in RELEASED.items() if month <= (int(found[1]), int(found[2]))]
    return known[-1] if known else None


def _card(name: str, total_mib: int) -> Card:
    """The card of that name from the card table; without one a card that has no known kind."""
    words = re.sub(r"\(.*?\)|class|^one of:", " ", name.partition("/")[0]).strip()
    found = KNOWN.search(words or name)
    try:
        known = find_known(found[0] if found else words).card
    except UserError:
        known = Card(uuid=name, index=0, vendor=Vendor.NVIDIA, name=name, total_mib=0)
    return with_memory(known, total_mib or known.total_mib)


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: {error}", hint="name a CSV file of observations") from error


def _number(text: str | None) -> float | None:
    """A size: what is no number, or a negative one, is as good as not given."""
    try:
        value = float(text) if text else -1.0
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _whole(text: str | None) -> int | None:
    value = _number(text)
    return int(value) if value and value >= 1 else None
