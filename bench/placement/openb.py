"""The openb trace of 2023 as fleet and snapshot: nodes with cards, and asks for a share of a card or for whole cards.

An ask is a model with one replica that claims its share of the memory of the card tried; asks for CPU only are skipped,
the columns of CPU and host memory are not read. Everything else is the product's planner.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aivailable.errors import UserError
from aivailable.model.cards import SLICE_MIB, Card, Node, Vendor
from aivailable.model.fleet import Engine, Fleet, ModelSpec, Resolved, Variant
from aivailable.model.footprint import Footprint
from aivailable.model.plan import Requirement
from aivailable.model.profile import Profile, WeightsFormat
from aivailable.model.snapshot import Snapshot
from aivailable.placement.judge import Equipment, Need, No

DATA = Path(__file__).parent.parent / "data" / "clusters"
NODES = DATA / "openb_node_list_gpu_node.csv"
ASKS = DATA / "openb_pod_list_gpuspec33.csv"

MEMORY_MIB = {
    "P100": 16384,
    "T4": 15360,
    "A10": 23028,
    "V100M16": 16384,
    "V100M32": 32768,
    "G2": 24576,
    "G3": 24576,
}
"""Memory by the trace's names of cards; G2 and G3 are not disclosed, 24,576 is a convention, for unknown names too."""

_PROFILE = Profile(
    format=WeightsFormat.GGUF,
    architecture="ask",
    weights_bytes=0,
    input_embedding_bytes=0,
    layers=1,
    hidden_size=1,
    heads=1,
    kv_heads=1,
    key_size=1,
    value_size=1,
    vocabulary=1,
    context_limit=1 << 30,
    weights_type="",
)


@dataclass(frozen=True, slots=True)
class Ask:
    """`cards` whole cards, or `milli` thousandths of one, of the models `allowed` (empty: any), for a time."""

    name: str
    cards: int
    milli: int
    allowed: frozenset[str]
    created_s: int
    deleted_s: int | None


def read_nodes(path: Path) -> Snapshot:
    """An empty cluster from a list of nodes.

    Raises:
        UserError: A column is missing or a number is none.
    """
    nodes = []
    for row in _rows(path):
        count = _whole(row, "gpu", path)
        name = row["model"]
        cards = tuple(_card(row["sn"], name, index) for index in range(count)) if name else ()
        nodes.append(Node(id=row["sn"], name=row["sn"], cards=cards))
    return Snapshot(nodes=tuple(nodes))


def read_asks(path: Path) -> list[Ask]:
    """The asks for GPUs, in the file's order.

    Raises:
        UserError: A column is missing or a number is none.
    """
    return [
        Ask(
            name=row["name"],
            cards=_whole(row, "num_gpu", path),
            milli=_whole(row, "gpu_milli", path),
            allowed=frozenset(filter(None, row["gpu_spec"].split("|"))),
            created_s=_whole(row, "creation_time", path),
            deleted_s=int(float(row["deletion_time"])) if row["deletion_time"] else None,
        )
        for row in _rows(path)
        if _whole(row, "num_gpu", path) > 0
    ]


def model_of(ask: Ask) -> ModelSpec:
    """The ask as a model with one replica; `AskJudge` reads it back."""
    source = f"{ask.cards} {ask.milli} {'|'.join(sorted(ask.allowed))}"
    resolved = Resolved(revision="", sha256="", profile=_PROFILE)
    return ModelSpec(name=ask.name, variants=(Variant(source=source, resolved=resolved),), context=1, concurrency=1)


def fleet_of(asks: list[Ask]) -> Fleet:
    """All asks at once."""
    return Fleet(models=tuple(model_of(ask) for ask in asks))


class AskJudge:
    """What an ask takes of a card: its share of the card's memory, in whole slices."""

    def __init__(self) -> None:
        self._needs: dict[tuple[str, int], Need] = {}
        self._asks: dict[str, tuple[int, int, frozenset[str]]] = {}
        self._equipment = {
            mib: Equipment(
                flags=(), image="", requirement=Requirement(vendor="nvidia", memory_mib=mib, slice_mib=SLICE_MIB)
            )
            for mib in range(SLICE_MIB, 2 * max(MEMORY_MIB.values()), SLICE_MIB)
        }

    def need(self, model: ModelSpec, variant: Variant, card: Card) -> Need | No:
        """The share of this card, or whole cards."""
        del model
        source = variant.source
        ask = self._asks.get(source)
        if ask is None:
            count, milli, allowed = source.split(" ")
            ask = self._asks[source] = (int(count), int(milli), frozenset(filter(None, allowed.split("|"))))
        if ask[2] and card.name not in ask[2]:
            return No(rule="where", text="the ask allows other cards only")
        key = (source, card.total_mib)
        need = self._needs.get(key)
        if need is None:
            whole = ask[0] > 1 or ask[1] >= 1000
            claim_mib = card.total_mib if whole else -(-card.total_mib * ask[1] // 1000)
            slices = min(card.slices, card.slices_for(claim_mib))
            size = Footprint(
                weights_mib=claim_mib, kv_mib=0, activation_mib=0, graphs_mib=0, context_mib=0, margin_mib=0
            )
            need = self._needs[key] = Need(engine=Engine.LLAMACPP, slices=slices, footprint=size, cards=ask[0])
        return need

    def equipment(self, model: ModelSpec, variant: Variant, need: Need, card: Card) -> Equipment:
        """None of the flags of an engine: the trace has no engines."""
        del model, variant
        return self._equipment[need.slices * card.slice_mib]


def cards_by_name(snapshot: Snapshot) -> Counter[str]:
    """How many cards of each name."""
    return Counter(card.name for node in snapshot.nodes for card in node.cards)


def _card(node: str, name: str, index: int) -> Card:
    total_mib = MEMORY_MIB.get(name, MEMORY_MIB["G2"])
    return Card(
        uuid=f"{node}-{index}",
        index=index,
        vendor=Vendor.NVIDIA,
        name=name,
        total_mib=total_mib,
        free_slices=total_mib // SLICE_MIB,
    )


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="name a CSV file of the openb format") from error


def _whole(row: dict[str, str], column: str, path: Path) -> int:
    try:
        return int(float(row[column] or 0))
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: column {column}: {error}", hint="see bench/data/clusters for the format") from error
