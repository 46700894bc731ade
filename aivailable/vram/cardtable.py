"""The table of known cards, for questions about cards that are not at hand."""

import csv
import difflib
from pathlib import Path

from aivailable.errors import UserError
from aivailable.model.cards import SLICE_MIB, Card, Vendor

TABLE = Path(__file__).parent / "data" / "gpus.csv"


def known_cards() -> tuple[Card, ...]:
    """Every card of the table whose driver's figure is known, empty."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_card(row) for row in csv.DictReader(file) if row["vram_mib"])


def find_card(name: str) -> Card:
    """The card whose name is, or else holds, `name`; case does not matter, the shortest name wins.

    Raises:
        UserError: No such card, with the nearest names.
    """
    cards = known_cards()
    asked = name.lower()
    found = [c for c in cards if c.name.lower() == asked] or [c for c in cards if asked in c.name.lower()]
    if found:
        return min(found, key=lambda c: len(c.name))
    near = difflib.get_close_matches(asked, [c.name.lower() for c in cards], n=3, cutoff=0.3)
    names = [c.name for n in near for c in cards if c.name.lower() == n]
    hint = f"did you mean {', '.join(dict.fromkeys(names))}?" if names else "name it as its driver does, or --vram-mib"
    raise UserError(f"no card named {name!r} is known", hint=hint)


def card_of_size(vram_mib: int) -> Card:
    """A card of so much memory that every engine runs on: NVIDIA, compute capability 8.0."""
    return _empty(name=f"a card of {vram_mib} MiB", vendor=Vendor.NVIDIA, vram_mib=vram_mib, compute_capability=8.0)


def _card(row: dict[str, str]) -> Card:
    return _empty(
        name=row["name"],
        vendor=Vendor(row["vendor"]),
        vram_mib=int(row["vram_mib"]),
        compute_capability=float(row["compute_capability"]) if row["compute_capability"] else None,
        gfx=row["gfx"] or None,
    )


def _empty(
    *, name: str, vendor: Vendor, vram_mib: int, compute_capability: float | None = None, gfx: str | None = None
) -> Card:
    return Card(
        uuid=name,
        index=0,
        vendor=vendor,
        name=name,
        total_mib=vram_mib,
        compute_capability=compute_capability,
        gfx=gfx,
        free_slices=vram_mib // SLICE_MIB,
    )
