"""A rack and a catalogue of real models, from CSV files, as snapshot and models.

Weights follow from the models' published parameter counts and the formats' bits, because the catalogue names variants,
not files: good for comparing planners, which all get the same numbers. What is measured of them is another benchmark.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aivailable.errors import UserError
from aivailable.model.cards import SLICE_MIB, Card, Node, Vendor
from aivailable.model.fleet import ModelSpec, Resolved, Variant
from aivailable.model.profile import Profile, WeightsFormat
from aivailable.model.snapshot import Snapshot

DATA = Path(__file__).parent.parent / "data"
RACK = DATA / "fleets" / "legacy-rack.csv"
CATALOGUE = DATA / "fleets" / "catalogue.csv"
MODELS = DATA / "models.json"

BITS = {
    "bf16": 16.0,
    "awq": 4.25,
    "mxfp4": 4.25,
    "gguf-mxfp4": 4.25,
    "gguf-q4_k_m": 4.85,
    "gguf-q8_0": 8.5,
}
"""Bits per weight outside the embeddings: AWQ and MXFP4 with their scales (group of 128 with zero points; 32 with one
byte), GGUF as llama.cpp's quantize tool prints them."""

GGUF_EMBEDDING_BITS = {"gguf-q4_k_m": 4.5, "gguf-q8_0": 8.5, "gguf-mxfp4": 8.5}
"""Bits of the token embeddings in GGUF files; in safetensors they stay at 16."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue; `popularity` is its share of the requests."""

    spec: ModelSpec
    popularity: float


def read_rack(path: Path) -> Snapshot:
    """The empty rack of a CSV file with one row per card.

    Raises:
        UserError: The file cannot be read, a column is missing or a number is none.
    """
    nodes: dict[str, list[Card]] = {}
    racks: dict[str, str] = {}
    for row in _rows(path):
        try:
            total_mib = int(row["vram_mib"])
            card = Card(
                uuid=f"GPU-{row['node']}-{row['index']}",
                index=int(row["index"]),
                vendor=Vendor(row["vendor"]),
                name=row["card"],
                total_mib=total_mib,
                compute_capability=float(row["compute_capability"]) if row["compute_capability"] else None,
                gfx=row["gfx"] or None,
                bandwidth_gb_s=float(row["bandwidth_gb_s"] or 0) or None,
                free_slices=total_mib // SLICE_MIB,
            )
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: {error}", hint="see bench/data/fleets/legacy-rack.csv for the format") from error
        nodes.setdefault(row["node"], []).append(card)
        racks[row["node"]] = row.get("rack", "")
    return Snapshot(
        nodes=tuple(Node(id=name, name=name, rack=racks[name], cards=tuple(cards)) for name, cards in nodes.items())
    )


def read_catalogue(path: Path, *, share: float = 1.0) -> list[Entry]:
    """The models of a catalogue with `share` of its concurrency.

    Raises:
        UserError: The file cannot be read, or names a model or variant without facts.
    """
    facts: dict[str, dict[str, Any]] = json.loads(MODELS.read_text(encoding="utf-8"))
    entries = []
    for row in _rows(path):
        try:
            variants = tuple(
                _variant(row["model_id"], facts[row["model_id"]], name) for name in row["variants"].split(";")
            )
            spec = ModelSpec(
                name=row["model_id"],
                variants=variants,
                context=int(row["context"]),
                concurrency=max(1, round(int(row["concurrency"]) * share)),
            )
            entries.append(Entry(spec=spec, popularity=float(row["popularity"])))
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: {error}", hint="see bench/data/fleets/catalogue.csv for the format") from error
    return entries


def _variant(model: str, facts: dict[str, Any], name: str) -> Variant:
    gguf = name.startswith("gguf")
    hidden, vocabulary = facts["hidden_size"], facts["vocab_size"]
    tables = 1 if facts["tie_word_embeddings"] else 2
    embedding = hidden * vocabulary
    embedding_bytes = embedding * GGUF_EMBEDDING_BITS.get(name, 16.0) / 8
    rest_bytes = (facts["parameter_count"] - tables * embedding) * BITS[name] / 8
    latent = facts["kv_lora_rank"]
    head = facts["head_dim"] or hidden // facts["num_attention_heads"]
    profile = Profile(
        format=WeightsFormat.GGUF if gguf else WeightsFormat.SAFETENSORS,
        architecture=model,
        weights_bytes=round(rest_bytes + tables * embedding_bytes),
        input_embedding_bytes=round(embedding_bytes) if gguf and tables == 2 else 0,
        layers=facts["num_hidden_layers"],
        hidden_size=hidden,
        heads=facts["num_attention_heads"],
        kv_heads=1 if latent else facts["num_key_value_heads"],
        key_size=latent + facts["qk_rope_head_dim"] if latent else head,
        value_size=0 if latent else head,
        vocabulary=vocabulary,
        context_limit=1 << 20,
        weights_type=name.removeprefix("gguf-").upper(),
    )
    return Variant(source=f"{model}:{name}", resolved=Resolved(revision="", sha256=f"{model}:{name}", profile=profile))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a CSV file") from error
