"""The table of known cards, for questions about cards that are not at hand.

A card at hand is read from its driver: the table is never asked how much memory it has.
"""

import csv
import difflib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from aivailable.errors import UserError
from aivailable.model.cards import SLICE_MIB, Card, Vendor

TABLE = Path(__file__).parent / "data" / "gpus.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCard:
    """One row. `card` is empty; its `total_mib` is 0 where the table has no figure.

    `other_mib` is a second size that the same name reports (another version, or ECC the other way round), `note` says
    why. `bf16`: the makers say that it computes bf16.
    """

    card: Card
    architecture: str
    bf16: bool
    other_mib: int | None = None
    note: str = ""


@cache
def table() -> tuple[KnownCard, ...]:
    """Every row, in the file's order."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_known(row) for row in csv.DictReader(file))


def known_cards() -> tuple[Card, ...]:
    """Every card of the table, empty; those whose memory the table does not know have 0 MiB."""
    return tuple(known.card for known in table())


def find_card(name: str) -> Card:
    """The card whose name is, or else holds, `name`; case does not matter, the shortest name wins.

    Raises:
        UserError: No such card, with the nearest names.
    """
    return find_known(name).card


def find_known(name: str) -> KnownCard:
    """The row of that card; as `find_card`."""
    asked = " ".join(name.lower().split())
    if asked:
        found = [k for k in table() if k.card.name.lower() == asked]
        found = found or [k for k in table() if asked in k.card.name.lower()]
        if found:
            return min(found, key=lambda k: len(k.card.name))
    names = [known.card.name for known in table()]
    by_part = {part: n for n in names for part in (n.lower(), n.lower().rpartition("geforce ")[2])}
    near = [by_part[part] for part in difflib.get_close_matches(asked, by_part, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else "--all-cards lists those that are known"
    raise UserError(f"no card named {name!r} is known", hint=f"{hint} (any size: --vram-mib)")


def card_of_size(vram_mib: int) -> Card:
    """A card of so much memory that every engine runs on: NVIDIA, compute capability 8.0."""
    name = f"a card of {vram_mib} MiB"
    any_card = Card(uuid=name, index=0, vendor=Vendor.NVIDIA, name=name, total_mib=0, compute_capability=8.0)
    return with_memory(any_card, vram_mib)


def with_memory(card: Card, vram_mib: int) -> Card:
    """The same card with so much memory, empty."""
    return replace(card, total_mib=vram_mib, free_slices=vram_mib // card.slice_mib)


def _known(row: dict[str, str]) -> KnownCard:
    vram_mib = int(row["vram_mib"] or 0)
    card = Card(
        uuid=row["name"],
        index=0,
        vendor=Vendor(row["vendor"]),
        name=row["name"],
        total_mib=vram_mib,
        compute_capability=float(row["compute_capability"]) if row["compute_capability"] else None,
        gfx=row["gfx"] or None,
        bandwidth_gb_s=float(row["memory_bandwidth_gb_s"]) if row["memory_bandwidth_gb_s"] else None,
        free_slices=vram_mib // SLICE_MIB,
    )
    return KnownCard(
        card=card,
        architecture=row["architecture"],
        bf16=row["bf16"] == "yes",
        other_mib=int(row["vram_mib_alt"]) if row["vram_mib_alt"] else None,
        note=row["vram_note"],
    )
