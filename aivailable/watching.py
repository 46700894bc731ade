"""Turns the blocking queries of the seams into wake-ups of one loop."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from aivailable.errors import AivailableError

WATCH_TIMEOUT_S = 1.0
"""How long one blocking query waits; bounds the time to stop."""

Changed = Callable[[int, float], int]
"""A `changed` method of a seam: (index seen, timeout in seconds) -> index now."""

_log = logging.getLogger(__name__)


@contextmanager
def watching(sources: Mapping[str, Changed], stop: threading.Event) -> Iterator[threading.Event]:
    """An event that is set whenever one of the sources changes, and when `stop` is set.

    A source that cannot be asked is asked again; the loop that waits for the event should have a slow tick besides.
    """
    wake = threading.Event()
    watchers = [
        threading.Thread(target=_watch, args=(name, changed, stop, wake), name=f"watch-{name}", daemon=True)
        for name, changed in sources.items()
    ]
    for watcher in watchers:
        watcher.start()
    try:
        yield wake
    finally:
        for watcher in watchers:
            watcher.join(2 * WATCH_TIMEOUT_S)


def _watch(name: str, changed: Changed, stop: threading.Event, wake: threading.Event) -> None:
    index = 0
    while not stop.is_set():
        try:
            newer = changed(index, WATCH_TIMEOUT_S)
        except AivailableError as error:
            _log.warning("watching %s goes on after: %s", name, error)
            stop.wait(WATCH_TIMEOUT_S)
            continue
        if newer != index:
            index = newer
            wake.set()
    wake.set()
