"""A rack behind NVML's own function names and exceptions, to be altered by tests."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

MIB = 1024 * 1024


@dataclass
class FakeCard:
    """One card; an `absent` function is one that its driver does not support."""

    uuid: str
    name: str = "Tesla T4"
    total_mib: int = 15360
    reserved_mib: int = 430
    used_mib: int = 0
    capability: tuple[int, int] = (7, 5)
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    ecc: int = 0
    remapped: tuple[int, int, int, int] = (0, 0, 0, 0)
    pending: int = 0
    lost: bool = False
    instances: list["FakeCard"] | None = None
    absent: set[str] = field(default_factory=set)


class FakeNvml:
    """As the module `pynvml`; what is not given here is that module's own (constants, exceptions)."""

    def __init__(self, *cards: FakeCard) -> None:
        self.cards = list(cards)
        self.driver = True
        self.events: list[tuple[FakeCard, int]] = []
        self.opened = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(pynvml, name)
        if callable(found) and not isinstance(found, type):
            raise NotImplementedError(f"{name} would ask a real driver")
        return found

    def _of(self, card: FakeCard, function: str) -> FakeCard:
        if card.lost:
            raise pynvml.NVMLError_GpuIsLost()
        if function in card.absent:
            raise pynvml.NVMLError_NotSupported()
        return card

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name, as all below
        if not self.driver:
            raise pynvml.NVMLError_LibraryNotFound()
        self.opened += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if not self.driver:
            raise pynvml.NVMLError_DriverNotLoaded()
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeCard:  # noqa: N802
        return self._of(self.cards[index], "handle")

    def nvmlDeviceGetUUID(self, card: FakeCard) -> str:  # noqa: N802
        return self._of(card, "uuid").uuid

    def nvmlDeviceGetName(self, card: FakeCard) -> str:  # noqa: N802
        return self._of(card, "name").name

    def nvmlDeviceGetMigMode(self, card: FakeCard) -> tuple[int, int]:  # noqa: N802
        on = int(self._of(card, "mig").instances is not None)
        return on, on

    def nvmlDeviceGetMaxMigDeviceCount(self, card: FakeCard) -> int:  # noqa: N802
        return 7 if self._of(card, "mig").instances is not None else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: FakeCard, index: int) -> FakeCard:  # noqa: N802
        instances = card.instances or []
        if index >= len(instances):
            raise pynvml.NVMLError_NotFound()
        return instances[index]

    def nvmlDeviceGetMemoryInfo(self, card: FakeCard, version: int | None = None) -> SimpleNamespace:  # noqa: N802
        self._of(card, "memory_v2" if version else "memory")
        if version:
            return SimpleNamespace(
                total=(card.total_mib + card.reserved_mib) * MIB,
                reserved=card.reserved_mib * MIB,
                used=card.used_mib * MIB,
            )
        return SimpleNamespace(
            total=(card.total_mib + card.reserved_mib) * MIB, used=(card.used_mib + card.reserved_mib) * MIB
        )

    def nvmlDeviceGetCudaComputeCapability(self, card: FakeCard) -> tuple[int, int]:  # noqa: N802
        return self._of(card, "capability").capability

    def nvmlDeviceGetMemoryBusWidth(self, card: FakeCard) -> int:  # noqa: N802
        self._of(card, "bus")
        return 256

    def nvmlDeviceGetMaxClockInfo(self, card: FakeCard, kind: int) -> int:  # noqa: N802
        assert kind == pynvml.NVML_CLOCK_MEM
        self._of(card, "clock")
        return 5001

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.95.05"

    def nvmlDeviceGetPciInfo(self, card: FakeCard) -> SimpleNamespace:  # noqa: N802
        self._of(card, "pci")
        return SimpleNamespace(busId="00000000:3B:00.0")

    def nvmlDeviceGetPowerUsage(self, card: FakeCard) -> int:  # noqa: N802
        self._of(card, "power")
        return 27_500

    def nvmlDeviceGetUtilizationRates(self, card: FakeCard) -> SimpleNamespace:  # noqa: N802
        self._of(card, "utilization")
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetTemperature(self, card: FakeCard, sensor: int) -> int:  # noqa: N802
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        self._of(card, "temperature")
        return 51

    def nvmlDeviceGetComputeRunningProcesses(self, card: FakeCard) -> list[SimpleNamespace]:  # noqa: N802
        self._of(card, "processes")
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=None if mib is None else mib * MIB) for pid, mib in card.processes
        ]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: FakeCard) -> list[SimpleNamespace]:  # noqa: N802
        del card
        raise pynvml.NVMLError_NotSupported()

    def nvmlDeviceGetTotalEccErrors(self, card: FakeCard, kind: int, counter: int) -> int:  # noqa: N802
        assert (kind, counter) == (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return self._of(card, "ecc").ecc

    def nvmlDeviceGetRemappedRows(self, card: FakeCard) -> tuple[int, int, int, int]:  # noqa: N802
        return self._of(card, "remapped").remapped

    def nvmlDeviceGetRetiredPagesPendingStatus(self, card: FakeCard) -> int:  # noqa: N802
        return self._of(card, "pending").pending

    def nvmlEventSetCreate(self) -> object:  # noqa: N802
        return object()

    def nvmlDeviceRegisterEvents(self, card: FakeCard, kinds: int, events: object) -> None:  # noqa: N802
        assert kinds == pynvml.nvmlEventTypeXidCriticalError
        assert events is not None
        self._of(card, "events")

    def nvmlEventSetWait_v2(self, events: object, timeout_ms: int) -> SimpleNamespace:  # noqa: N802
        assert events is not None
        assert timeout_ms == 0
        if not self.events:
            raise pynvml.NVMLError_Timeout()
        card, xid = self.events.pop(0)
        return SimpleNamespace(device=card, eventData=xid)
