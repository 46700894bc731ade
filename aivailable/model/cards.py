"""Cards and the nodes that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SLICE_MIB = 512
"""Size of one VRAM slice in MiB, one value for a whole cluster (measured trade-off: docs/architecture.md)."""


class Vendor(StrEnum):
    """Who made the card; decides the device name in Nomad and the visible-devices variable."""

    NVIDIA = "nvidia"
    AMD = "amd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One physical GPU as its driver reports it, and how much of it is taken.

    `total_mib` is what the driver reports (not the number on the box). `free_slices` counts slices of `slice_mib`
    that no allocation holds; `used_mib` is what the driver says is in use; `foreign_mib` is the part of that which
    no allocation accounts for. `compute_capability` is set for NVIDIA (7.5), `gfx` for AMD (`gfx906`).
    `simulated` cards come from a file: engines on them run on the CPU. `device_type` is the one in Nomad: `vram` for
    slices, `gpu` for cards that HashiCorp's plugin gives out whole, as one slice as large as the card.
    """

    uuid: str
    index: int
    vendor: Vendor
    name: str
    total_mib: int
    compute_capability: float | None = None
    gfx: str | None = None
    bandwidth_gb_s: float | None = None
    driver_version: str = ""
    pci: str = ""
    simulated: bool = False
    healthy: bool = True
    slice_mib: int = SLICE_MIB
    device_type: str = "vram"
    free_slices: int = 0
    used_mib: int = 0
    foreign_mib: int = 0

    @property
    def slices(self) -> int:
        """Slices the whole card has; the remainder below one slice is not published."""
        return self.total_mib // max(1, self.slice_mib)

    @property
    def free_mib(self) -> int:
        """MiB that can still be claimed, in whole slices."""
        return self.free_slices * self.slice_mib

    def slices_for(self, claim_mib: int) -> int:
        """Slices that a claim of `claim_mib` takes on this card (rounded up)."""
        return -(-claim_mib // max(1, self.slice_mib))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine with cards, as Nomad sees it.

    `ready`: Nomad hears from it. `eligible`: it may take new work (not draining). `leaving`: its work is to move off,
    and it takes none (`aivailable drain`). `silent`: Consul does not hear from it any more. `drivers`: Nomad task
    drivers found healthy there; empty when unknown. `bridge`: it can give a job a network of its own (it has the CNI
    plugins); true when unknown. `cached`: sha256 of model files it already holds. `consul_name`: its name in Consul,
    where that is not `name`.
    """

    id: str
    name: str
    node_class: str = ""
    rack: str = ""
    ready: bool = True
    eligible: bool = True
    leaving: bool = False
    silent: bool = False
    vendor_plugin: str = ""
    drivers: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    bridge: bool = True
    cached: tuple[str, ...] = ()
    consul_name: str = ""
    cards: tuple[Card, ...] = ()
