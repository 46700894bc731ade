"""Cards to Nomad device groups, and reserved slices to a task's environment. Pure; the plugin uses it unchanged.

One group per card, one instance per slice: a group per model would let Nomad mix the slices of several cards.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aivailable.errors import PermanentError, UserError
from aivailable.model.cards import Card, Vendor

DEVICE_TYPE = "vram"

AttributeValue = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceGroup:
    """One card as Nomad's device plugin publishes it: `<vendor>/vram/<uuid>` with one instance per slice.

    `attributes` are what jobs constrain on; `memory` and `slice_mib` in MiB, `compute_capability` a float (as text it
    would not compare), `health_epoch` a number that changes with the health, because Nomad does not look again at
    waiting jobs for a health change alone.
    """

    vendor: str
    type: str
    name: str
    healthy: bool
    instances: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What a task gets for its slices: environment, and for containers device nodes and mounts (host paths)."""

    env: Mapping[str, str]
    devices: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()


def device_groups(cards: Iterable[Card], *, health_epoch: int = 0) -> tuple[DeviceGroup, ...]:
    """One group for every card, in the order given.

    Raises:
        UserError: Two cards have one uuid.
    """
    groups = tuple(_group(card, health_epoch) for card in cards)
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
    env = {
        **_visible(card),
        f"AIVAILABLE_CARD_{card.index}": card.uuid,
        f"AIVAILABLE_VRAM_MIB_{card.index}": str(len(set(wanted)) * card.slice_mib),
    }
    if card.simulated:
        env["AIVAILABLE_SIMULATED"] = "1"
    devices = ("/dev/kfd", "/dev/dri") if card.vendor is Vendor.AMD and not card.simulated else ()
    return Reservation(env=env, devices=devices)


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
    variable, whose indices count inside ROCR's list, nothing would be left to see.
    """
    if card.vendor is Vendor.NVIDIA:
        return {"CUDA_VISIBLE_DEVICES": card.uuid, "NVIDIA_VISIBLE_DEVICES": card.uuid}
    return {"ROCR_VISIBLE_DEVICES": str(card.index)}
