"""A rack behind AMD SMI's own function names, to be altered by tests; answers have the forms of its Python package."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

MIB = 1024 * 1024


class AmdSmiException(Exception):  # noqa: N818 - AMD SMI's own name
    """The root of AMD SMI's exceptions."""


class AmdSmiLibraryException(AmdSmiException):
    """A call that the library refused."""


class AmdSmiMemoryType(Enum):
    VRAM = 0


class AmdSmiTemperatureType(Enum):
    EDGE = 0
    HOTSPOT = 1


class AmdSmiTemperatureMetric(Enum):
    CURRENT = 0


@dataclass
class FakeCard:
    """One card; an `absent` function is one that it does not support."""

    serial: str = "0x4C8A1F2B3D5E6F70"
    gfx: str = "gfx906"
    name: str = "AMD Instinct MI60 / MI50"
    total_mib: int = 16368
    used_mib: int = 12
    bdf: str = "0000:44:00.0"
    ecc: int = 0
    bad_pages: list[dict[str, str]] = field(default_factory=list)
    processes: list[Any] = field(default_factory=list)
    edge: object = 48
    lost: bool = False
    absent: set[str] = field(default_factory=set)


class FakeSmi:
    """As the module `amdsmi`; `without` names functions that its version does not have."""

    AmdSmiException = AmdSmiException
    AmdSmiLibraryException = AmdSmiLibraryException
    AmdSmiMemoryType = AmdSmiMemoryType
    AmdSmiTemperatureType = AmdSmiTemperatureType
    AmdSmiTemperatureMetric = AmdSmiTemperatureMetric

    def __init__(self, *cards: FakeCard, without: frozenset[str] = frozenset()) -> None:
        self.cards = list(cards)
        self.driver = True
        self._without = without

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("amdsmi_") and name in object.__getattribute__(self, "_without"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def _of(self, card: FakeCard, function: str) -> FakeCard:
        if card.lost or function in card.absent:
            raise AmdSmiLibraryException(2, "AMDSMI_STATUS_NOT_SUPPORTED")
        return card

    def amdsmi_init(self) -> None:
        if not self.driver:
            raise AmdSmiLibraryException(34, "AMDSMI_STATUS_DRIVER_NOT_LOADED")

    def amdsmi_get_processor_handles(self) -> list[FakeCard]:
        if not self.driver:
            raise AmdSmiLibraryException(32, "AMDSMI_STATUS_NOT_INIT")
        return self.cards

    def amdsmi_get_gpu_asic_info(self, card: FakeCard) -> dict[str, object]:
        self._of(card, "asic")
        return {"market_name": card.name, "asic_serial": card.serial, "target_graphics_version": card.gfx}

    def amdsmi_get_gpu_device_uuid(self, card: FakeCard) -> str:
        return f"{self._of(card, 'uuid').serial.lower()}-of-{card.bdf}"

    def amdsmi_get_gpu_device_bdf(self, card: FakeCard) -> str:
        return self._of(card, "bdf").bdf

    def amdsmi_get_gpu_memory_total(self, card: FakeCard, kind: AmdSmiMemoryType) -> int:
        assert kind is AmdSmiMemoryType.VRAM
        return self._of(card, "memory").total_mib * MIB

    def amdsmi_get_gpu_memory_usage(self, card: FakeCard, kind: AmdSmiMemoryType) -> int:
        assert kind is AmdSmiMemoryType.VRAM
        return self._of(card, "memory").used_mib * MIB

    def amdsmi_get_gpu_vram_info(self, card: FakeCard) -> dict[str, object]:
        self._of(card, "vram_info")
        return {"vram_type": "HBM", "vram_max_bandwidth": 1024}

    def amdsmi_get_gpu_driver_info(self, card: FakeCard) -> dict[str, str]:
        self._of(card, "driver")
        return {"driver_name": "amdgpu", "driver_version": "6.12.12"}

    def amdsmi_get_gpu_activity(self, card: FakeCard) -> dict[str, object]:
        self._of(card, "activity")
        return {"gfx_activity": 63, "umc_activity": 10, "mm_activity": "N/A"}

    def amdsmi_get_temp_metric(self, card: FakeCard, sensor: object, metric: object) -> object:
        assert metric is AmdSmiTemperatureMetric.CURRENT
        self._of(card, "temperature")
        return card.edge if sensor is AmdSmiTemperatureType.EDGE else 71

    def amdsmi_get_power_info(self, card: FakeCard) -> dict[str, object]:
        self._of(card, "power")
        return {"current_socket_power": "N/A", "average_socket_power": 22, "power_limit": 225}

    def amdsmi_get_gpu_total_ecc_count(self, card: FakeCard) -> dict[str, int]:
        return {"correctable_count": 5, "uncorrectable_count": self._of(card, "ecc").ecc}

    def amdsmi_get_gpu_bad_page_info(self, card: FakeCard) -> list[dict[str, str]]:
        return self._of(card, "bad_pages").bad_pages

    def amdsmi_get_gpu_process_list(self, card: FakeCard) -> list[Any]:
        return self._of(card, "processes").processes

    def amdsmi_get_gpu_process_info(self, card: FakeCard, process: object) -> dict[str, object]:
        self._of(card, "processes")
        return {"name": "x", "pid": process, "mem": 700 * MIB}
