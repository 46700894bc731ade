"""The fleet in the key-value store: one document, written by the CLI with compare-and-set."""

from dataclasses import dataclass, fields

from aivailable.controller.verdicts import read_failures
from aivailable.documents import dump_fleet, load_fleet
from aivailable.errors import UserError
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.service import FLEET_KEY
from aivailable.placement import succeed
from aivailable.seams import KeyValue, Registry


@dataclass(frozen=True, slots=True)
class StoredFleet:
    """The fleet and the index under which it was read (0: there is none yet)."""

    fleet: Fleet
    index: int


class FleetReader:
    """Reads the fleet again and again; its objects are the same ones while its key's index is."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._stored = StoredFleet(Fleet(), 0)

    def read(self) -> StoredFleet:
        """The present fleet; see `read_fleet`."""
        entry = self._registry.get(FLEET_KEY)
        if entry is None or entry.index != self._stored.index:
            self._stored = _stored(entry)
        return self._stored


def read_fleet(registry: Registry) -> StoredFleet:
    """The present fleet; an empty one where none was ever written."""
    return _stored(registry.get(FLEET_KEY))


def _stored(entry: KeyValue | None) -> StoredFleet:
    if entry is None:
        return StoredFleet(Fleet(), 0)
    return StoredFleet(load_fleet(entry.value, where=f"key {FLEET_KEY}"), entry.index)


def write_fleet(registry: Registry, fleet: Fleet, *, seen: StoredFleet, retry: bool = False) -> Fleet:
    """Replace the fleet that was seen; with `retry`, versions that were given up are tried anew.

    Returns:
        What was written: the fleet with what each model can go back to.

    Raises:
        UserError: Somebody else wrote in the meantime; the message says what they changed.
    """
    written = succeed(fleet, seen.fleet, read_failures(registry), retry=retry)
    if registry.put(FLEET_KEY, dump_fleet(written), index=seen.index):
        return written
    now = read_fleet(registry)
    changed = describe_changes(seen.fleet, now.fleet) or ["nothing that matters"]
    raise UserError(
        "the fleet was changed by somebody else in the meantime: " + "; ".join(changed) + "\nyours was not written",
        hint="look at `aivailable fleet` and deploy again",
    )


def describe_changes(before: Fleet, after: Fleet) -> list[str]:
    """What differs between two fleets, in words, one per model."""
    names = list(dict.fromkeys([*(m.name for m in before.models), *(m.name for m in after.models)]))
    words: list[str] = []
    for name in names:
        old, new = before.model(name), after.model(name)
        if old is None:
            words.append(f"{name} added")
        elif new is None:
            words.append(f"{name} removed")
        elif old != new:
            words.append(f"{name} changed ({', '.join(_changed_fields(old, new))})")
    return words


def _changed_fields(old: ModelSpec, new: ModelSpec) -> list[str]:
    return [field.name for field in fields(old) if getattr(old, field.name) != getattr(new, field.name)]
