"""Nomad's event stream as a counter that rises: whoever waits for it looks at the state, never at the event."""

import json
import logging
import threading

from aivailable.clients.nomad_api import NomadApi
from aivailable.errors import AivailableError

TOPICS = ("Allocation", "Node", "Job")
RETRY_S = 1.0

_log = logging.getLogger(__name__)


class EventWatch:
    """Follows nodes, jobs and allocations on a thread of its own, started by the first who waits.

    The stream may break or miss what happened meanwhile, so every new connection counts as a change.
    """

    def __init__(self, api: NomadApi) -> None:
        self._api = api
        self._changed = threading.Condition()
        self._count = 0
        self._thread: threading.Thread | None = None

    def wait(self, since: int, timeout_s: float) -> int:
        """The counter, as soon as it differs from `since`, at the latest after `timeout_s`."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="nomad-events", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self._count != since, timeout_s)
            return self._count

    def _follow(self) -> None:
        pause = threading.Event()
        while not self._api.closed:
            try:
                with self._api.lines("/v1/event/stream", topic=TOPICS, namespace="*") as lines:
                    self._rise()
                    for line in lines:
                        if line and json.loads(line).get("Events"):
                            self._rise()
            except (AivailableError, ValueError) as error:  # a line that was cut is no JSON
                if not self._api.closed:
                    _log.warning("following Nomad's events goes on after: %s", error)
            pause.wait(RETRY_S)

    def _rise(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()
