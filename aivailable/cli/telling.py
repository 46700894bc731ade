"""Tells on stderr how far a file is, a line now and then: it also serves logs that people read later."""

import time

from aivailable.cli.console import notes
from aivailable.model.transfer import Transfer

TELL_EVERY_S = 0.5


class Teller:
    """A `Tell` that prints at most every half second, and the end of a file it has spoken of."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()
        self._spoke_of = ""

    def __call__(self, transfer: Transfer) -> None:
        """Print this one, or leave it."""
        now_s, whole = time.monotonic(), transfer.done_bytes == transfer.size_bytes
        if now_s - self._last_s >= TELL_EVERY_S or (whole and self._spoke_of == transfer.name):
            self._last_s, self._spoke_of = now_s, transfer.name
            notes.print(str(transfer), soft_wrap=True)
