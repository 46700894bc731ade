"""Looks at the rack once a second, as long as somebody watches; all who watch get what is seen."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from aivailable.controller.fleetstore import FleetReader
from aivailable.controller.history import Happened, history
from aivailable.controller.observe import Observer
from aivailable.controller.picture import Picture, picture
from aivailable.controller.traffic import Counted, Rates, Traffic, parse
from aivailable.errors import AivailableError
from aivailable.model.fleet import Fleet
from aivailable.model.plan import Plan
from aivailable.model.snapshot import Snapshot
from aivailable.placement import Planner
from aivailable.seams import Cluster, Registry

TICK_S = 1.0
IN_USE_EVERY_S = 5.0
"""Each node is asked for what its cards' drivers say; more often shows nothing that a person could follow."""
DECISIONS_SHOWN = 40
TOLD_EVERY_S = 3.0
TOLD_SHARE = 10
"""Reading what happened asks for every task of the rack: at most a tenth of the time goes into it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """What is looked at.

    `gateways` gives the text of each gateway's metrics, by name; `in_use_mib` asks the drivers for the memory in use by
    card; `base_urls` are where clients reach the gateways.
    """

    cluster: Cluster
    registry: Registry
    gateways: Callable[[], Mapping[str, str]]
    in_use_mib: Callable[[], Mapping[str, int]]
    base_urls: Callable[[], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look gave: the picture and where the gateways are, or in words why there is none now."""

    picture: Picture | None = None
    base_urls: tuple[str, ...] = ()
    trouble: str = ""


class Looker:
    """Makes pictures, one after the other; what did not change is not worked out again."""

    def __init__(self, eyes: Eyes) -> None:
        self._eyes = eyes
        self._observer = Observer(eyes.cluster, eyes.registry)
        self._fleets = FleetReader(eyes.registry)
        self._planner = Planner()
        self._rates = Rates()
        self._planned: tuple[Fleet, Snapshot, Plan] | None = None
        self._in_use_mib: Mapping[str, int] = {}
        self._asked_at_s = -IN_USE_EVERY_S
        self._told: tuple[Happened, ...] = ()
        self._told_of: Snapshot | None = None
        self._told_at_s = self._rest_until_s = 0.0

    def look(self) -> Seen:
        """Once; what could not be read is told, never raised."""
        try:
            return self._look()
        except AivailableError as error:
            return Seen(trouble=error.message)

    def _look(self) -> Seen:
        fleet, snapshot = self._fleets.read().fleet, self._observer.look()
        if self._planned is None or self._planned[0] is not fleet or self._planned[1] is not snapshot:
            self._planned = fleet, snapshot, self._planner.plan(fleet, snapshot)
        shown = picture(
            fleet,
            snapshot,
            self._planned[2],
            at_s=time.time(),
            decisions=self._decisions(snapshot),
            in_use_mib=self._in_use(),
            traffic=self._traffic(fleet),
        )
        return Seen(picture=shown, base_urls=self._eyes.base_urls())

    def _decisions(self, snapshot: Snapshot) -> tuple[Happened, ...]:
        """What happened; read again with another snapshot, else now and then, and the seldomer the longer it takes."""
        begun_s = time.monotonic()
        due = snapshot is not self._told_of or begun_s - self._told_at_s >= TOLD_EVERY_S
        if due and begun_s >= self._rest_until_s:
            self._told = history(self._eyes.cluster, self._eyes.registry, limit=DECISIONS_SHOWN)
            self._told_of, self._told_at_s = snapshot, begun_s
            self._rest_until_s = begun_s + TOLD_SHARE * (time.monotonic() - begun_s)
        return self._told

    def _traffic(self, fleet: Fleet) -> Mapping[str, Traffic] | None:
        names = [model.name for model in fleet.models]
        counted: dict[str, Mapping[str, Counted]] = {
            name: parse(text, names) for name, text in self._eyes.gateways().items()
        }
        return self._rates.look(time.monotonic(), counted) if counted else None

    def _in_use(self) -> Mapping[str, int]:
        """What drivers say, of late; the last answer while they are silent."""
        now_s = time.monotonic()
        if now_s - self._asked_at_s >= IN_USE_EVERY_S:
            self._asked_at_s = now_s
            try:
                self._in_use_mib = self._eyes.in_use_mib()
            except AivailableError as error:
                _log.warning("memory in use is not known: %s", error)
        return self._in_use_mib


class Live:
    """One looker for all who watch. Belongs to the event loop that serves them."""

    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look
        self._watchers: set[asyncio.Queue[Seen]] = set()
        self._task: asyncio.Task[None] | None = None

    async def follow(self) -> AsyncGenerator[Seen]:
        """What is seen, from now on; a watcher that is slow gets the newest only."""
        queue: asyncio.Queue[Seen] = asyncio.Queue(maxsize=1)
        self._watchers.add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    async def _run(self) -> None:
        while self._watchers:
            begun_s = time.monotonic()
            try:
                seen = await asyncio.to_thread(self._look)
            except Exception:  # noqa: BLE001 - the reason follows
                # The page's edge: an error of ours in one look must not leave every watcher with a still picture.
                _log.exception("the page goes on after an error that should not happen")
                seen = Seen(trouble="an error of AIvailable itself; the controller's log has it")
            for queue in self._watchers:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(seen)
            await asyncio.sleep(max(0.0, begun_s + TICK_S - time.monotonic()))
