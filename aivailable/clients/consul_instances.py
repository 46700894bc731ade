"""The instances of one service, read again only when Consul says that one of them or its health has changed."""

from collections.abc import Mapping
from typing import Any

from consul.exceptions import ConsulException

from aivailable.clients.consul_api import ConsulApi
from aivailable.model.service import Instance


class KeptInstances:
    """One list of Consul's health endpoint as instances. Any thread may use it.

    The rule: the index that Consul sends with the list (`X-Consul-Index`) is that of the last write to the service, its
    checks or the nodes it runs on. While it is the one read before, the list stands, for one small request. Else all
    of it is read, one entry at a time, and instances that are equal are still the same objects.
    """

    def __init__(self, api: ConsulApi, path: str) -> None:
        self._api = api
        self._path = path
        self._state: tuple[int, tuple[Instance, ...]] = (0, ())

    def read(self) -> tuple[Instance, ...]:
        """All instances as they are now, passing or not; the same tuple as before where nothing changed.

        Raises:
            AivailableError: Consul does not answer.
        """
        index, found = self._state
        now, _ = self._api.ask(lambda: self._api.index_of(self._path))
        if index and now == index:
            return found
        self._state = self._api.ask(lambda: self._read({(i.node, i.id): i for i in found}))
        return self._state[1]

    def _read(self, known: Mapping[tuple[str, str], Instance]) -> tuple[int, tuple[Instance, ...]]:
        found = []
        try:
            with self._api.entries(self._path) as (index, entries):
                for entry in entries:
                    made = _instance(entry)
                    before = known.get((made.node, made.id))
                    found.append(before if before == made else made)
        except ValueError as error:
            raise ConsulException(str(error)) from error
        return index, tuple(found)


def _instance(entry: Mapping[str, Any]) -> Instance:
    service, node = entry["Service"], entry["Node"]
    return Instance(
        id=service["ID"],
        service=service["Service"],
        address=service["Address"] or node["Address"],
        port=service["Port"],
        passing=all(check["Status"] == "passing" for check in entry["Checks"]),
        node=node["Node"],
        tags=tuple(service.get("Tags") or ()),
        meta=dict(service.get("Meta") or {}),
    )
