"""What the plugin knows and answers, without a word of gRPC: configuration, groups, reservations, measurements."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aivailable.devices.amd import AmdInventory
from aivailable.devices.config import PluginConfig, keep_slice_size, read_config
from aivailable.devices.holders import PROC, Holdings, Task, holdings, running_tasks
from aivailable.devices.inventory import Inventory, Reading, unhealthy
from aivailable.devices.nvidia import NvidiaInventory
from aivailable.devices.simulated import SimulatedInventory
from aivailable.devices.slices import DeviceGroup, Reservation, device_groups, reserve
from aivailable.errors import PermanentError, RetryableError

FOREIGN_TOLERANCE_MIB = 64
"""Memory in use on an idle card (driver, display) that is nobody's in particular; claims have a margin for it."""
FOREIGN_SETTLE_S = 10.0
"""How long foreign memory must stay the same before it is published: each change rewrites the node's whole record."""
MEMORY_WAIT_S = 20.0
"""How long Reserve waits for memory to come back: a driver frees it seconds after the process that held it died."""
MEMORY_LOOK_S = 0.5

Log = Callable[[str, str], None]
"""Takes a level (`info`, `warn`, `error`) and a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One card as it is published: its group, and why it is unhealthy where it is."""

    group: DeviceGroup
    why: str
    pci: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A reservation with what a container needs besides its environment, as host paths."""

    reservation: Reservation
    device_nodes: tuple[str, ...]
    mounts: tuple[str, ...]


class Plugin:
    """The state of one plugin process. Any thread may call it."""

    def __init__(self, *, log: Log, clock: Callable[[], float] = time.monotonic, proc: Path = PROC) -> None:
        self._log = log
        self._clock = clock
        self._proc = proc
        self._lock = threading.Lock()
        self._config = PluginConfig()
        self._inventories: tuple[Inventory, ...] = ()
        self._readings: dict[str, tuple[Reading, ...]] = {}
        self._complaints: dict[str, str] = {}
        self._health: dict[str, bool] = {}
        self._epochs: dict[str, int] = {}
        self._foreign: dict[str, _Settling] = {}

    def configure(self, given: Mapping[str, Any]) -> None:
        """Take the configuration. Nomad calls this twice at each start.

        Raises:
            UserError: A mistake in it, or another slice size than the node's.
        """
        config = read_config(given)
        keep_slice_size(config)
        with self._lock:
            if config != self._config or not self._inventories:
                self._config = config
                self._inventories = tuple(_inventory(name, config) for name in config.inventories)
                self._readings = {}

    def look(self) -> tuple[Published, ...]:
        """Read all inventories; the cards as they are to be published now."""
        with self._lock:
            readings = self._read()
            tasks = running_tasks(self._proc)
            cards = []
            for reading in readings:
                uuid, healthy = reading.card.uuid, reading.card.healthy
                if self._health.setdefault(uuid, healthy) != healthy:
                    self._health[uuid] = healthy
                    self._epochs[uuid] = self._epochs.get(uuid, 0) + 1
                    self._log("warn" if not healthy else "info", f"card {uuid}: {reading.why or 'healthy again'}")
                cards.append(replace(reading.card, foreign_mib=self._settled(reading, tasks)))
            groups = device_groups(cards, health_epochs=self._epochs)
        return tuple(
            Published(group=group, why=reading.why, pci=reading.card.pci)
            for group, reading in zip(groups, readings, strict=True)
        )

    def reserve(self, ids: tuple[str, ...], *, wait_s: float = MEMORY_WAIT_S) -> Granted:
        """The reservation for the slices of one device block.

        Waits up to `wait_s` for memory that is in use beyond what tasks booked: of a process that just died it comes
        back in seconds.

        Raises:
            PermanentError: The memory is not there, or there are no such slices; the text shows in the task's events.
        """
        deadline = self._clock() + wait_s
        while True:
            with self._lock:
                readings = {reading.card.uuid: reading for reading in self._read()}
            made = reserve([reading.card for reading in readings.values()], ids)
            reading = readings[made.uuid]
            held = holdings(reading, running_tasks(self._proc))
            if not reading.card.healthy:
                raise PermanentError(f"card {reading.card.name} ({made.uuid}) is unhealthy: {reading.why}")
            if held.foreign_mib <= FOREIGN_TOLERANCE_MIB or held.short_mib(made.booked_mib) <= 0:
                return Granted(reservation=made, device_nodes=reading.device_nodes, mounts=reading.mounts)
            if self._clock() >= deadline:
                raise PermanentError(self._refusal(reading, held, made.booked_mib))
            time.sleep(MEMORY_LOOK_S)

    def measure(self) -> tuple[tuple[Reading, Holdings], ...]:
        """Every card's measurements and who holds its memory, from the latest reading."""
        with self._lock:
            readings = self._all_readings()
        tasks = running_tasks(self._proc)
        return tuple((reading, holdings(reading, tasks)) for reading in readings)

    def _read(self) -> tuple[Reading, ...]:
        """Read every inventory; one that does not answer keeps its last cards, unhealthy. Called with the lock held."""
        for inventory in self._inventories:
            try:
                self._readings[inventory.name] = inventory.read()
                self._complaints.pop(inventory.name, None)
            except RetryableError as error:
                text = f"{inventory.name}: {error.message}"
                if self._complaints.get(inventory.name) != text:
                    self._complaints[inventory.name] = text
                    self._log("warn", text)
                self._readings[inventory.name] = tuple(
                    unhealthy(reading, error.message) for reading in self._readings.get(inventory.name, ())
                )
        return self._all_readings()

    def _all_readings(self) -> tuple[Reading, ...]:
        size = self._config.slice_mib
        found: dict[str, Reading] = {}
        for readings in self._readings.values():
            for reading in readings:
                found.setdefault(reading.card.uuid, replace(reading, card=replace(reading.card, slice_mib=size)))
        return tuple(found.values())

    def _settled(self, reading: Reading, tasks: tuple[Task, ...]) -> int:
        """Foreign memory in whole slices, once it has stayed the same for a while."""
        held_mib = holdings(reading, tasks).foreign_mib
        foreign = held_mib if held_mib > FOREIGN_TOLERANCE_MIB else 0
        slices_mib = -(-foreign // reading.card.slice_mib) * reading.card.slice_mib
        now = self._clock()
        settling = self._foreign.get(reading.card.uuid)
        if settling is None:
            settling = _Settling(published=slices_mib, seen=slices_mib, since_s=now)
        elif slices_mib != settling.seen:
            settling = replace(settling, seen=slices_mib, since_s=now)
        elif settling.seen != settling.published and now - settling.since_s >= FOREIGN_SETTLE_S:
            settling = replace(settling, published=settling.seen)
        self._foreign[reading.card.uuid] = settling
        return settling.published

    def _refusal(self, reading: Reading, held: Holdings, asked_mib: int) -> str:
        who = ", ".join(f"{pid} ({_command(self._proc, pid)})" for pid in held.strangers) or "unknown"
        return (
            f"card {reading.card.name} ({reading.card.uuid}) is short of {held.short_mib(asked_mib)} MiB: "
            f"{held.foreign_mib} MiB are held by what is no task of Nomad (process {who}); "
            f"{asked_mib} MiB asked, {held.booked_mib} MiB booked by other tasks, {held.total_mib} MiB in all"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settling:
    """Foreign memory that is published, and what is seen since when."""

    published: int
    seen: int
    since_s: float


def _inventory(name: str, config: PluginConfig) -> Inventory:
    if name == "nvidia":
        return NvidiaInventory()
    if name == "amd":
        return AmdInventory()
    if config.simulated is None:
        raise ValueError(name)
    return SimulatedInventory(config.simulated, config.node)


def _command(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "comm").read_text().strip()
    except OSError:
        return "gone"
