"""A real Consul behind the seam `Registry`: instances and their health, key-value, the lock."""

import base64
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import requests
from consul.exceptions import ConsulException

from aivailable.clients.consul_api import ConsulApi
from aivailable.clients.consul_instances import KeptInstances
from aivailable.errors import AivailableError, PermanentError
from aivailable.model.service import Instance
from aivailable.seams import KeyValue, Lease
from aivailable.settings import ConsulSettings

VALUE_SIZE_MAX = 512 * 1024
"""Consul refuses larger values."""
SESSION_TTL_S = 10
"""The least that Consul allows; a dead holder's lock falls after at most twice that."""
LOCK_DELAY_S = 1
"""How long nobody gets a lock whose holder vanished: a late write of it then still meets its lock."""
RENEW_S = 3.0
LOCK_POLL_S = 0.2

_LOST = 'CheckID == "serfHealth"'
"""The check by which Consul's agents look after each other."""

_log = logging.getLogger(__name__)


class ConsulRegistry:
    """One Consul datacenter; see `aivailable.seams.Registry`. Any thread may use it."""

    def __init__(self, settings: ConsulSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._api = ConsulApi(settings, sleep=sleep)
        self._consul, self._ask, self._index = self._api.consul, self._api.ask, self._api.index
        self._services: dict[str, tuple[KeptInstances, KeptInstances]] = {}
        self._meshed: dict[str, tuple[tuple[Instance, ...], tuple[Instance, ...], tuple[Instance, ...]]] = {}
        self._values: dict[str, tuple[object, Mapping[str, KeyValue]]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def instances(self, service: str) -> tuple[Instance, ...]:
        """All registered instances of a service, passing or not; those in the mesh by the address of their proxy."""
        kept = self._services.setdefault(service, (self._list("service", service), self._list("connect", service)))
        found = kept[0].read()
        if not any(instance.meshed for instance in found):
            return found
        return self._joined(service, found, kept[1].read())

    def _list(self, kind: str, service: str) -> KeptInstances:
        return KeptInstances(self._api, f"/v1/health/{kind}/{service}")

    def _joined(self, service: str, found: tuple[Instance, ...], proxies: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """Those without a mesh and the proxies of the others; the same tuple while both are."""
        known = self._meshed.get(service)
        if known is None or known[0] is not found or known[1] is not proxies:
            plain = (instance for instance in found if not instance.meshed)
            known = self._meshed[service] = (found, proxies, (*plain, *proxies))
        return known[2]

    def services_changed(self, service: str, since: int, timeout_s: float) -> int:
        """Wait until the instances of a service or their health differ from index `since`."""
        path = f"/v1/health/service/{service}"
        return self._index(lambda **wait: self._api.index_of(path, **wait), since, timeout_s)

    def lost_nodes(self) -> frozenset[str]:
        """The nodes that Consul's agents do not hear from any more."""
        _, checks = self._ask(lambda: self._consul.health.state("critical", filter_expr=_LOST))
        return frozenset(check["Node"] for check in checks or ())

    def get(self, key: str) -> KeyValue | None:
        """The value under a key, or None."""
        _, found = self._ask(lambda: self._consul.kv.get(key))
        return KeyValue(value=_bytes(found["Value"]), index=found["ModifyIndex"]) if found else None

    def keys(self, prefix: str) -> tuple[str, ...]:
        """The keys that begin with a prefix, sorted."""
        _, found = self._ask(lambda: self._consul.kv.get(prefix, keys=True))
        return tuple(sorted(found or ()))

    def values(self, prefix: str) -> Mapping[str, KeyValue]:
        """The values under all keys that begin with a prefix, by key, sorted; the same mapping while none has changed.

        Consul's index of a prefix is the last write below it. The keys are compared, too, for what Consul remembers of
        a deletion ends after some minutes, and the index falls back then.
        """
        state = self._ask(lambda: self._consul.kv.get(prefix, keys=True))
        known = self._values.get(prefix)
        if known is None or known[0] != state:
            _, found = self._ask(lambda: self._consul.kv.get(prefix, recurse=True))
            values = {e["Key"]: KeyValue(value=_bytes(e["Value"]), index=e["ModifyIndex"]) for e in found or ()}
            known = self._values[prefix] = (state, dict(sorted(values.items())))
        return known[1]

    def put(self, key: str, value: bytes, *, index: int | None = None, lease: Lease | None = None) -> bool:
        """Write a value; with `index` only if the key still has that index, with `lease` only while it is held.

        Under a lease the key is locked by the lease's session as well, so that Consul itself refuses a late write.

        Raises:
            PermanentError: The value is too large for Consul.
        """
        if len(value) > VALUE_SIZE_MAX:
            raise PermanentError(f"key {key}: {len(value)} bytes, more than the {VALUE_SIZE_MAX} that Consul takes")
        if lease is None:
            return bool(self._ask(lambda: self._consul.kv.put(key, value, cas=index)))
        if not isinstance(lease, SessionLease) or not lease.held():
            return False
        try:
            return bool(self._ask(lambda: self._consul.kv.put(key, value, cas=index, acquire=lease.session)))
        except PermanentError as error:
            if "invalid session" in error.message:
                return False
            raise

    def delete(self, key: str) -> None:
        """Remove a key; an unknown one is no error."""
        self._ask(lambda: self._consul.kv.delete(key))

    def key_changed(self, key: str, since: int, timeout_s: float) -> int:
        """Wait until the value under a key differs from index `since`."""
        return self._index(lambda **wait: self._consul.kv.get(key, **wait), since, timeout_s)

    @contextmanager
    def lock(self, key: str, *, timeout_s: float) -> Iterator[Lease]:
        """Hold a lock by a session that is renewed as long as the context lasts; see `aivailable.seams.Registry`."""
        session = self._ask(
            lambda: self._consul.session.create(
                name=key, checks=[], behavior="release", ttl=SESSION_TTL_S, lock_delay=LOCK_DELAY_S
            )
        )
        lease = SessionLease(session, lambda: self._consul.session.renew(session))
        try:
            deadline = time.monotonic() + timeout_s
            while not (got := self._acquire(key, session)) and time.monotonic() < deadline:
                lease.renew_if_due()
                self._sleep(LOCK_POLL_S)
            if got:
                lease.start()
            yield lease
        finally:
            lease.end()
            with suppress(AivailableError):  # the session ends by itself soon after
                if got:
                    self._ask(lambda: self._consul.kv.put(key, b"", release=session))
                self._ask(lambda: self._consul.session.destroy(session))

    def _acquire(self, key: str, session: str) -> bool:
        return bool(self._ask(lambda: self._consul.kv.put(key, b"", acquire=session)))


class SessionLease:
    """A lock held through a Consul session; renewed on a thread, and held only as long as renewing succeeds in time."""

    def __init__(
        self, session: str, renew: Callable[[], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.session = session
        self._renew = renew
        self._clock = clock
        self._renewed_s = clock()
        self._held = False
        self._stop = threading.Event()

    def held(self) -> bool:
        """Whether it is held for certain: a session not renewed within its time may have ended."""
        return self._held and self._clock() - self._renewed_s < SESSION_TTL_S

    def start(self) -> None:
        """The lock was got: keep it."""
        self._held = True
        threading.Thread(target=self._keep, name="lease", daemon=True).start()

    def end(self) -> None:
        """Hold it no longer."""
        self._held = False
        self._stop.set()

    def renew_if_due(self) -> None:
        """Keep the session while waiting for the lock."""
        if self._clock() - self._renewed_s >= RENEW_S:
            self._try_to_renew()

    def _keep(self) -> None:
        while not self._stop.wait(RENEW_S) and self._held:
            self._try_to_renew()

    def _try_to_renew(self) -> None:
        begun = self._clock()  # counted from the asking: Consul may have counted from then, too
        try:
            self._renew()
        except (ConsulException, requests.RequestException) as error:
            _log.warning("the session could not be renewed: %s", error)
            if "not found" in str(error).lower():
                self._held = False
        else:
            self._renewed_s = begun


def _bytes(value: object) -> bytes:
    """A value as bytes; none is an empty one."""
    if isinstance(value, str):
        return base64.b64decode(value)
    return bytes(value) if isinstance(value, bytes | bytearray) else b""
