"""Cards to Nomad device groups, and reserved slices to a task's environment. Pure; the plugin uses it unchanged.

One group per card, one instance per slice: a group per model would let Nomad mix the slices of several cards.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aivailable.errors import PermanentError, UserError
from aivailable.model.cards import Card, Vendor

DEVICE_TYPE = "vram"
CARD_VARIABLE = "AIVAILABLE_CARD_"
"""Before a card's index: its uuid."""
BOOKED_VARIABLE = "AIVAILABLE_VRAM_MIB_"
"""Before a card's index: the MiB that the task booked on it."""
VISIBLE_VARIABLE = "AIVAILABLE_VISIBLE_"
"""Before a card's index: its entry in the vendor's visible-devices variable. A task with several device blocks composes
that variable from these entries, in a template: Nomad keeps only the last block's value of one name."""

_ROCR_UUID = re.compile(r"GPU-[0-9a-f]{16}")

AttributeValue = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGroup:
    """One card as Nomad's device plugin publishes it: `<vendor>/vram/<uuid>` with one instance per slice.

    `attributes` are what jobs constrain on; `memory` and `slice_mib` in MiB, `compute_capability` a float (as text it
    would not compare), `health_epoch` a number that changes with the health, because Nomad does not look again at
    waiting jobs for a health change alone, `foreign_mib` what programs hold that are no tasks.
    """

    vendor: str
    type: str
    name: str
    healthy: bool
    instances: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a task gets for its slices: the environment, for `booked_mib` of the card `uuid`."""

    uuid: str
    booked_mib: int
    env: Mapping[str, str]


def device_groups(
    cards: Iterable[Card], *, health_epochs: Mapping[str, int] = MappingProxyType({})
) -> tuple[DeviceGroup, ...]:
    """One group for every card, in the order given; `health_epochs` by uuid, 0 where a card has none.

    Raises:
        UserError: Two cards have one uuid.
    """
    groups = tuple(_group(card, health_epochs.get(card.uuid, 0)) for card in cards)
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise UserError("two cards report the same uuid", hint="check the inventory")
    return groups


def reserve(cards: Iterable[Card], ids: Iterable[str]) -> Reservation:
    """The reservation for the slices of one device block; they always belong to one card.

    `AIVAILABLE_CARD_<index>` names each card under a key of its own: with several blocks in one task Nomad merges the
    environments and the last visible-devices variable would win.

    Raises:
        PermanentError: An id that no card has, or ids of more than one card.
    """
    wanted = tuple(ids)
    by_uuid = {card.uuid: card for card in cards}
    uuids = {slice_id.rpartition("/")[0] for slice_id in wanted}
    if len(uuids) != 1:
        raise PermanentError(f"one reservation needs the slices of one card, got those of {sorted(uuids) or 'none'}")
    card = by_uuid.get(uuids.pop())
    known = set(slice_ids(card)) if card else set()
    if card is None or (unknown := [slice_id for slice_id in wanted if slice_id not in known]):
        name = wanted[0] if card is None else unknown[0]
        raise PermanentError(f"no such slice: {name}", hint="the card has gone, or the slice size was changed")
    booked_mib = len(set(wanted)) * card.slice_mib
    env = {
        **_visible(card),
        f"{CARD_VARIABLE}{card.index}": card.uuid,
        f"{BOOKED_VARIABLE}{card.index}": str(booked_mib),
        f"{VISIBLE_VARIABLE}{card.index}": next(iter(_visible(card).values())),
    }
    if card.simulated:
        env["AIVAILABLE_SIMULATED"] = "1"
    return Reservation(uuid=card.uuid, booked_mib=booked_mib, env=env)


def booked_mib(env: Mapping[str, str]) -> dict[str, int]:
    """What a task with this environment booked, in MiB by card."""
    cards = {name.removeprefix(CARD_VARIABLE): uuid for name, uuid in env.items() if name.startswith(CARD_VARIABLE)}
    booked = {uuid: env.get(BOOKED_VARIABLE + index, "") for index, uuid in cards.items()}
    return {uuid: int(mib) for uuid, mib in booked.items() if mib.isdigit()}


def slice_ids(card: Card) -> tuple[str, ...]:
    """The instance ids of a card's slices: `<uuid>/<n>`."""
    return tuple(f"{card.uuid}/{number:03d}" for number in range(card.slices))


def _group(card: Card, health_epoch: int) -> DeviceGroup:
    attributes: dict[str, AttributeValue | None] = {
        "memory": card.total_mib,
        "model": card.name,
        "uuid": card.uuid,
        "index": card.index,
        "compute_capability": card.compute_capability,
        "gfx": card.gfx,
        "driver_version": card.driver_version or None,
        "pci": card.pci or None,
        "bandwidth": card.bandwidth_gb_s,
        "slice_mib": card.slice_mib,
        "health_epoch": health_epoch,
        "simulated": card.simulated,
        "foreign_mib": card.foreign_mib or None,
    }
    return DeviceGroup(
        vendor=card.vendor.value,
        type=DEVICE_TYPE,
        name=card.uuid,
        healthy=card.healthy,
        instances=slice_ids(card),
        attributes={name: value for name, value in attributes.items() if value is not None},
    )


def _visible(card: Card) -> dict[str, str]:
    """The visible-devices variables of the vendor.

    NVIDIA: the CUDA runtime reads the first, the container runtime the second. AMD: ROCR alone; together with HIP's
    variable, whose indices count inside ROCR's list, nothing would be left to see. By uuid where the card has one of
    the form that ROCR knows, as the order of indices is not the same in all of AMD's libraries.
    """
    if card.vendor is Vendor.NVIDIA:
        return {"CUDA_VISIBLE_DEVICES": card.uuid, "NVIDIA_VISIBLE_DEVICES": card.uuid}
    by_uuid = _ROCR_UUID.fullmatch(card.uuid) and not card.simulated
    return {"ROCR_VISIBLE_DEVICES": card.uuid if by_uuid else str(card.index)}
