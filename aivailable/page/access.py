"""Who may look: whoever sends an API key that is good."""

import hmac
import logging
import threading
import time
from collections.abc import Callable

from aivailable.errors import AivailableError
from aivailable.keystore import read_keys
from aivailable.model.service import ApiKey
from aivailable.seams import Secrets

FRESH_S = 2.0
"""How long keys are believed after they were read: as fast as a gateway forgets a revoked one."""
NEW_S = 0.5
"""The same when a key is not known: often enough for one that was just made, seldom enough for guessers."""
BEARER = "bearer "

_log = logging.getLogger(__name__)


class Keyring:
    """The keys of the store, read again when they are old.

    While they cannot be read the last ones hold, as in gateways.
    """

    def __init__(self, secrets: Secrets, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._secrets = secrets
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[ApiKey, ...] = ()
        self._read_at_s: float | None = None
        self._error: AivailableError | None = None

    def key_of(self, authorization: str, *, now_s: float) -> ApiKey | None:
        """The key that an `Authorization` header carries; None where it carries none that is good at `now_s`.

        Raises:
            AivailableError: The store cannot be read.
        """
        if not authorization.lower().startswith(BEARER):
            return None
        secret = authorization[len(BEARER) :].strip().encode()
        # One that is not known may have been made a moment ago.
        found = self._find(secret, FRESH_S) or self._find(secret, NEW_S)
        return None if found is None or 0 < found.expires_at <= now_s else found

    def _find(self, secret: bytes, fresh_s: float) -> ApiKey | None:
        found = None
        for key in self._current(fresh_s):
            # All are compared, and each in constant time: how long it takes tells nothing of a secret.
            if hmac.compare_digest(key.secret.encode(), secret):
                found = key
        return found

    def _current(self, fresh_s: float) -> tuple[ApiKey, ...]:
        """The keys as they were at most `fresh_s` ago, seconds."""
        with self._lock:
            if self._read_at_s is None or self._clock() - self._read_at_s >= fresh_s:
                self._read()
                self._read_at_s = self._clock()
            if self._error and not self._keys:
                raise self._error
            return self._keys

    def _read(self) -> None:
        try:
            self._keys, self._error = read_keys(self._secrets), None
        except AivailableError as error:
            _log.warning("keys are those read last, after: %s", error)
            self._error = error
