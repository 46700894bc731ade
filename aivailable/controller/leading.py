"""Who may lead: a leader that cannot reach the cluster leaves the lock to one that can."""

import time
from collections.abc import Callable

from aivailable.errors import AivailableError, RetryableError


class Fitness:
    """Whether this controller can act, judged by how its rounds end.

    A leader whose rounds have failed for `patience_s`, or who could not finish a single one, is unfit: it only watches.
    It is fit again when `probe` succeeds. Only what may work elsewhere or later counts as failing: a fleet that nobody
    can read is no reason to hand the lock from one to the next.
    """

    def __init__(
        self, probe: Callable[[], object], patience_s: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._probe = probe
        self._patience_s = patience_s
        self._clock = clock
        self._worked_s: float | None = None
        self.unfit = False

    def begins(self) -> None:
        """It has come to lead, and has not yet shown that it can."""
        self._worked_s = None

    def worked(self) -> None:
        """A round came to its end."""
        self._worked_s = self._clock()

    def failed(self, error: AivailableError) -> None:
        """A round did not."""
        if not isinstance(error, RetryableError):
            return
        self.unfit = self._worked_s is None or self._clock() - self._worked_s >= self._patience_s

    def fit(self) -> bool:
        """Whether it may compete for the lock; one that was unfit looks first whether it can act now."""
        if self.unfit:
            try:
                self._probe()
            except AivailableError:
                return False
            self.unfit = False
        return True
