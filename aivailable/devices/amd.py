"""AMD cards, as AMD SMI reports them."""

import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from aivailable.devices.inventory import CardProcess, Reading, unhealthy, with_vanished
from aivailable.errors import RetryableError
from aivailable.model.cards import Card, Vendor

MIB = 1024 * 1024
PCI_DEVICES = Path("/sys/bus/pci/devices")
COMPUTE_DEVICE = "/dev/kfd"
DRI = "/dev/dri"

_UNIQUE_ID = re.compile(r"(?:0x)?([0-9a-fA-F]{1,16})")
_GFX = re.compile(r"(?:gfx)?([0-9a-f]{3,5})")

T = TypeVar("T")


class AmdInventory:
    """The AMD cards of this node. See `aivailable.devices.inventory.Inventory`.

    Unhealthy: uncorrectable ECC errors (RAS), pages of memory that went bad and wait to be taken out of use, a card
    that does not answer or has gone. Cards without RAS, as most consumer ones, are watched by the rest only.
    """

    name = "amd"

    def __init__(self, library: Any = None, *, pci_devices: Path = PCI_DEVICES) -> None:
        self._given = library
        self._smi: Any = None
        self._pci_devices = pci_devices
        self._seen: dict[str, Reading] = {}

    def read(self) -> tuple[Reading, ...]:
        """The cards as AMD SMI reports them now.

        Raises:
            RetryableError: AMD SMI or the driver is not here, or does not answer.
        """
        smi = self._opened()
        try:
            handles = list(smi.amdsmi_get_processor_handles())
        except smi.AmdSmiException as error:
            self._smi = None
            raise RetryableError(f"AMD SMI does not answer: {error}") from error
        found = [reading for index, handle in enumerate(handles) if (reading := self._card(smi, handle, index))]
        self._seen = with_vanished(found, self._seen)
        return tuple(self._seen.values())

    def _opened(self) -> Any:
        """AMD SMI, opened once; imported at the first reading, as its package loads ROCm's library."""
        if self._smi is not None:
            return self._smi
        try:
            smi = self._given or importlib.import_module("amdsmi")
        except (
            ImportError,
            OSError,
            KeyError,
            AttributeError,
        ) as error:  # a package without its library fails in each way
            raise RetryableError(
                f"AMD SMI is not installed: {error}", hint="it comes with ROCm; or leave `amd` out of `inventories`"
            ) from error
        try:
            smi.amdsmi_init()
        except smi.AmdSmiException as error:
            raise RetryableError(
                f"no AMD driver answers: {error}", hint="load amdgpu, or leave `amd` out of `inventories`"
            ) from error
        self._smi = smi
        return smi

    def _card(self, smi: Any, handle: Any, index: int) -> Reading | None:
        """One card; as it was and unhealthy where it does not answer, None where it never did."""
        try:
            return _judged(_reading(smi, handle, index, self._pci_devices), smi, handle)
        except smi.AmdSmiException as error:
            seen = next((seen for seen in self._seen.values() if seen.card.index == index), None)
            return unhealthy(seen, f"the card does not answer: {error}") if seen else None


def _reading(smi: Any, handle: Any, index: int, pci_devices: Path) -> Reading:
    asic: Mapping[str, Any] = smi.amdsmi_get_gpu_asic_info(handle)
    vram = smi.AmdSmiMemoryType.VRAM
    pci = _asked(smi, lambda: str(smi.amdsmi_get_gpu_device_bdf(handle)), "")
    card = Card(
        uuid=_uuid(smi, handle, asic),
        index=index,
        vendor=Vendor.AMD,
        name=str(asic.get("market_name") or "AMD card"),
        total_mib=smi.amdsmi_get_gpu_memory_total(handle, vram) // MIB,
        gfx=_gfx(asic),
        bandwidth_gb_s=_asked(
            smi, lambda: _number(smi.amdsmi_get_gpu_vram_info(handle).get("vram_max_bandwidth")), None
        ),
        driver_version=_asked(smi, lambda: str(smi.amdsmi_get_gpu_driver_info(handle)["driver_version"]), ""),
        pci=pci,
        used_mib=smi.amdsmi_get_gpu_memory_usage(handle, vram) // MIB,
    )
    return Reading(
        card=card,
        processes=_processes(smi, handle),
        device_nodes=_device_nodes(pci, pci_devices),
        utilization_percent=_asked(smi, lambda: _number(smi.amdsmi_get_gpu_activity(handle)["gfx_activity"]), None),
        temperature_c=_asked(smi, lambda: _temperature_c(smi, handle), None),
        power_w=_asked(smi, lambda: _power_w(smi.amdsmi_get_power_info(handle)), None),
    )


def _uuid(smi: Any, handle: Any, asic: Mapping[str, Any]) -> str:
    """`GPU-` and the 16 hex digits of the card's unique id, which ROCR_VISIBLE_DEVICES takes.

    Consumer cards have none: theirs is AMD SMI's own uuid, made of what the card is and where it sits.
    """
    found = _UNIQUE_ID.fullmatch(str(asic.get("asic_serial") or ""))
    if found and int(found[1], 16) not in (0, 0xFFFFFFFFFFFFFFFF):
        return f"GPU-{int(found[1], 16):016x}"
    return f"GPU-{smi.amdsmi_get_gpu_device_uuid(handle)}"


def _gfx(asic: Mapping[str, Any]) -> str | None:
    """The gfx id, `gfx906`; AMD SMI before ROCm 6.2 does not tell it."""
    found = _GFX.fullmatch(str(asic.get("target_graphics_version") or "").strip().lower())
    return f"gfx{found[1]}" if found else None


def _processes(smi: Any, handle: Any) -> tuple[CardProcess, ...]:
    """Who holds memory; old versions give handles that must be asked one by one."""
    entries: tuple[Any, ...] = _asked(smi, lambda: tuple(smi.amdsmi_get_gpu_process_list(handle)), ())
    processes = (entry if isinstance(entry, Mapping) else _process(smi, handle, entry) for entry in entries)
    return tuple(
        CardProcess(pid=process["pid"], used_mib=None if (used := _held(process)) is None else int(used) // MIB)
        for process in processes
        if process
    )


def _process(smi: Any, handle: Any, process: Any) -> Mapping[str, Any]:
    """What is known of a process by its handle; nothing where it has ended meanwhile."""
    nothing: Mapping[str, Any] = {}
    return _asked(smi, lambda: smi.amdsmi_get_gpu_process_info(handle, process), nothing)


def _held(process: Mapping[str, Any]) -> float | None:
    """The bytes of VRAM that a process holds."""
    return _number(process.get("memory_usage", {}).get("vram_mem", process.get("mem")))


def _device_nodes(pci: str, pci_devices: Path) -> tuple[str, ...]:
    """What a container needs of the card: the compute device, and the card's own nodes for rendering."""
    folder = pci_devices / pci / "drm"
    if not pci or not folder.is_dir():
        return (COMPUTE_DEVICE, DRI)
    own = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(("renderD", "card")))
    return (COMPUTE_DEVICE, *(f"{DRI}/{name}" for name in own))


def _judged(reading: Reading, smi: Any, handle: Any) -> Reading:
    """The reading with the card's health."""
    errors = _asked(smi, lambda: _number(smi.amdsmi_get_gpu_total_ecc_count(handle)["uncorrectable_count"]), None)
    if errors:
        return unhealthy(reading, f"{errors:.0f} uncorrectable ECC errors since the driver was loaded: reset the card")
    pages: tuple[Any, ...] = _asked(smi, lambda: tuple(smi.amdsmi_get_gpu_bad_page_info(handle)), ())
    waiting = [page for page in pages if isinstance(page, Mapping) and "PENDING" in str(page.get("status"))]
    if waiting:
        return unhealthy(reading, f"{len(waiting)} bad pages wait to be taken out of use: reset the card")
    return reading


def _temperature_c(smi: Any, handle: Any) -> float | None:
    """At the edge, else at the hottest spot: newer data-centre cards have no sensor at the edge."""
    now = smi.AmdSmiTemperatureMetric.CURRENT
    for sensor in (smi.AmdSmiTemperatureType.EDGE, smi.AmdSmiTemperatureType.HOTSPOT):
        value = _asked(smi, lambda sensor=sensor: _number(smi.amdsmi_get_temp_metric(handle, sensor, now)), None)  # type: ignore[misc] # the loop's value
        if value is not None:
            return float(value)
    return None


def _power_w(info: Mapping[str, Any]) -> float | None:
    """Watts, under the name that the card's kind has; `N/A` under the others."""
    values = (_number(info.get(name)) for name in ("current_socket_power", "average_socket_power", "socket_power"))
    return next((value for value in values if value), None)


def _number(value: object) -> float | None:
    """A number; AMD SMI writes `N/A` where there is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _asked(smi: Any, question: Callable[[], T], otherwise: T) -> T:
    """An answer that not every card and version gives: functions and keys came with time."""
    try:
        return question()
    except (smi.AmdSmiLibraryException, AttributeError, KeyError):
        return otherwise
