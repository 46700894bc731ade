"""NVIDIA cards, as NVML reports them."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from aivailable.devices.inventory import CardProcess, Reading, unhealthy, with_vanished
from aivailable.errors import RetryableError
from aivailable.model.cards import Card, Vendor

MIB = 1024 * 1024
MIG_INDEX_STEP = 100
"""An instance's index: this times (its card's index plus 1), plus its own; so that all indices of a node differ."""
APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""XIDs that a program's mistake causes while the card is well: graphics engine exception, page fault, stopped channel,
cleanup, video exception, context switch timeout. Source: NVIDIA's XID documentation; its Kubernetes device plugin
passes over the same."""
EVENTS_MAX = 64
"""Events taken at one reading; what is left over waits for the next."""

T = TypeVar("T")


class NvidiaInventory:
    """The NVIDIA cards of this node; where MIG is on, its instances. See `aivailable.devices.inventory.Inventory`.

    Unhealthy: a critical XID since the plugin started (it stays until the card is reset and the agent restarted),
    uncorrected ECC errors since the driver was loaded, memory that could not be remapped or waits for a reset, a card
    that does not answer or has gone.
    """

    name = "nvidia"

    def __init__(self, library: Any = None) -> None:
        self._given = library
        self._nvml: Any = None
        self._events: Any = None
        self._watched: set[str] = set()
        self._xids: dict[str, int] = {}
        self._seen: dict[str, Reading] = {}
        self._parents: dict[str, str] = {}

    def read(self) -> tuple[Reading, ...]:
        """The cards as NVML reports them now.

        Raises:
            RetryableError: There is no NVIDIA driver here, or it does not answer.
        """
        nvml = self._opened()
        try:
            count = nvml.nvmlDeviceGetCount()
            self._take_events(nvml)
            found = [reading for index in range(count) for reading in self._card(nvml, index)]
        except nvml.NVMLError as error:
            self._nvml = None
            raise RetryableError(f"NVML does not answer: {error}") from error
        self._seen = with_vanished(found, self._seen)
        return tuple(self._seen.values())

    def _opened(self) -> Any:
        """NVML, opened once. Imported here, at the first reading: it takes 43 ms, and the handshake must not wait."""
        if self._nvml is not None:
            return self._nvml
        try:
            nvml = self._given or importlib.import_module("pynvml")
        except ImportError as error:
            raise RetryableError(
                f"NVML's Python package is not installed: {error}", hint="pip install 'aivailable[cluster]'"
            ) from error
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            raise RetryableError(
                f"no NVIDIA driver answers: {error}", hint="load it, or leave `nvidia` out of `inventories`"
            ) from error
        self._nvml, self._events, self._watched = nvml, None, set()
        return nvml

    def _card(self, nvml: Any, index: int) -> Iterator[Reading]:
        """A card, or its MIG instances; one that does not answer as it was, unhealthy."""
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            self._watch(nvml, handle, uuid)
            if _asked(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)[0], 0):
                yield from self._instances(nvml, handle, index, uuid)
            else:
                yield self._judged(_reading(nvml, handle, handle, index, uuid, ""), nvml, handle, uuid)
        except (nvml.NVMLError_GpuIsLost, nvml.NVMLError_Unknown) as error:
            for seen in self._seen.values():
                parent = self._parents.get(seen.card.uuid)
                if index in (seen.card.index, seen.card.index // MIG_INDEX_STEP - 1 if parent else -1):
                    yield unhealthy(seen, f"the card does not answer: {error}")

    def _instances(self, nvml: Any, card: Any, index: int, parent: str) -> Iterator[Reading]:
        for number in range(_asked(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(card), 0)):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number)
            except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
                continue  # a place for an instance that was not made
            uuid = _text(nvml.nvmlDeviceGetUUID(handle))
            self._parents[uuid] = parent
            place = MIG_INDEX_STEP * (index + 1) + number
            reading = _reading(nvml, handle, card, place, uuid, _text(nvml.nvmlDeviceGetName(handle)))
            yield self._judged(reading, nvml, card, parent)

    def _judged(self, reading: Reading, nvml: Any, handle: Any, uuid: str) -> Reading:
        """The reading with the card's health."""
        why = ""
        if uuid in self._xids:
            why = f"XID {self._xids[uuid]}: reset the card, then restart the Nomad agent"
        elif why_memory := _bad_memory(nvml, handle):
            why = why_memory
        return unhealthy(reading, why) if why else reading

    def _watch(self, nvml: Any, handle: Any, uuid: str) -> None:
        """Have the driver note critical XIDs of a card; cards too old for it are watched by the rest only."""
        if uuid in self._watched:
            return
        self._watched.add(uuid)
        try:
            if self._events is None:
                self._events = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument):
            return

    def _take_events(self, nvml: Any) -> None:
        """Take what the driver noted since the last reading, without waiting."""
        for _ in range(EVENTS_MAX if self._events is not None else 0):
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = _text(nvml.nvmlDeviceGetUUID(event.device))
            except nvml.NVMLError_Timeout:
                return
            except nvml.NVMLError:
                return  # the card that it is about does not answer: that shows without the event
            if event.eventData not in APPLICATION_XIDS:
                self._xids[uuid] = int(event.eventData)


def _reading(nvml: Any, handle: Any, card: Any, index: int, uuid: str, instance: str) -> Reading:
    """What is known of one card, or of an instance of `card`."""
    total_mib, used_mib = _memory(nvml, handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(card)
    made = Card(
        uuid=uuid,
        index=index,
        vendor=Vendor.NVIDIA,
        name=instance or _text(nvml.nvmlDeviceGetName(card)),
        total_mib=total_mib,
        compute_capability=float(f"{major}.{minor}"),
        bandwidth_gb_s=None if instance else _bandwidth_gb_s(nvml, card),
        driver_version=_text(_asked(nvml, nvml.nvmlSystemGetDriverVersion, "")),
        pci=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetPciInfo(card).busId, "")),
        used_mib=used_mib,
    )
    sensor = getattr(nvml, "NVML_TEMPERATURE_GPU", 0)
    power_mw = _asked(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(card), None)
    return Reading(
        card=made,
        processes=_processes(nvml, handle),
        utilization_percent=_asked(nvml, lambda: float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu), None),
        temperature_c=_asked(nvml, lambda: float(nvml.nvmlDeviceGetTemperature(card, sensor)), None),
        power_w=None if power_mw is None else power_mw / 1000,
    )


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    """Total without what the driver reserves, and what is in use of that, in MiB; old drivers tell no reserve."""
    info = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2), None)
    if info is None:
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
        return info.total // MIB, info.used // MIB
    return (info.total - info.reserved) // MIB, info.used // MIB


def _bandwidth_gb_s(nvml: Any, card: Any) -> float | None:
    """Bus width times the memory's clock, twice per tick: 256 bit at 5,001 MHz are 320 GB/s (a T4)."""
    bits = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryBusWidth(card), None)
    mhz = _asked(nvml, lambda: nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_MEM), None)
    return round(bits * mhz * 2 / 8 / 1000, 1) if bits and mhz else None


def _processes(nvml: Any, handle: Any) -> tuple[CardProcess, ...]:
    compute: tuple[Any, ...] = _asked(nvml, lambda: tuple(nvml.nvmlDeviceGetComputeRunningProcesses(handle)), ())
    graphics: tuple[Any, ...] = _asked(nvml, lambda: tuple(nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)), ())
    found: dict[int, int | None] = {}
    for process in (*compute, *graphics):
        used = process.usedGpuMemory
        found[process.pid] = None if used is None else used // MIB
    return tuple(CardProcess(pid=pid, used_mib=used) for pid, used in sorted(found.items()))


def _bad_memory(nvml: Any, card: Any) -> str:
    """What is wrong with a card's memory; empty where nothing is, or the card cannot tell."""
    kinds = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC)
    if errors := _asked(nvml, lambda: nvml.nvmlDeviceGetTotalEccErrors(card, *kinds), 0):
        return f"{errors} uncorrected ECC errors since the driver was loaded: reset the card"
    remapped = _asked(nvml, lambda: nvml.nvmlDeviceGetRemappedRows(card), (0, 0, 0, 0))
    if remapped[3]:
        return "a row of its memory could not be remapped: the card needs repair"
    pending = remapped[2] or _asked(nvml, lambda: nvml.nvmlDeviceGetRetiredPagesPendingStatus(card), 0)
    return "bad memory waits for a reset to be taken out of use: reset the card" if pending else ""


def _asked(nvml: Any, question: Callable[[], T], otherwise: T) -> T:
    """An answer that not every card and driver gives."""
    absent = (
        nvml.NVMLError_NotSupported,
        nvml.NVMLError_FunctionNotFound,
        nvml.NVMLError_NoPermission,
        nvml.NVMLError_InvalidArgument,
        nvml.NVMLError_ArgumentVersionMismatch,
    )
    try:
        return question()
    except absent:
        return otherwise


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
