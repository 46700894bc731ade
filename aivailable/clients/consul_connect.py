"""Consul's service mesh (Connect): our identity in it, whom to trust, and who may speak to whom (intentions)."""

import json
from collections.abc import Mapping
from typing import Any

from consul.callback import CB
from consul.exceptions import ACLPermissionDenied, ConsulException

from aivailable.clients.consul_api import ConsulApi
from aivailable.errors import AivailableError, UserError
from aivailable.seams import Identity
from aivailable.settings import ConsulSettings

LEAF_PATH = "/v1/agent/connect/ca/leaf/"
ROOTS_PATH = "/v1/agent/connect/ca/roots"
INTENTIONS_PATH = "/v1/connect/intentions"
OFF = "Connect must be enabled"
"""How Consul's refusal begins where the mesh is off."""

MESH_HINT = 'consul: connect { enabled = true } on every agent (deploy/node.sh does it), or [cluster] mesh = "none"'


class ConsulCertificates:
    """The Connect CA of one Consul agent; see `aivailable.seams.Certificates`. Any thread may use it."""

    def __init__(self, settings: ConsulSettings) -> None:
        self._api = ConsulApi(settings)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def identity(self, service: str) -> Identity:
        """The leaf of a service: Consul makes one at the first question and renews it in time."""
        found = self._read(LEAF_PATH + service)
        return Identity(certificate=found["CertPEM"], key=found["PrivateKeyPEM"], uri=found["ServiceURI"])

    def roots(self) -> str:
        """All roots, the active one and those from before a rotation; an engine's leaf may still be of those."""
        return "".join(root["RootCert"].rstrip("\n") + "\n" for root in self._read(ROOTS_PATH)["Roots"])

    def identity_changed(self, service: str, since: int, timeout_s: float) -> int:
        """Wait until the leaf of a service differs from index `since`."""
        return self._changed(LEAF_PATH + service, since, timeout_s)

    def roots_changed(self, since: int, timeout_s: float) -> int:
        """Wait until the roots differ from index `since`."""
        return self._changed(ROOTS_PATH, since, timeout_s)

    def _read(self, path: str) -> Any:
        try:
            return self._api.ask(lambda: self._get(path))[1]
        except AivailableError as error:
            if OFF in error.message:
                raise UserError("Consul's service mesh is off, and the fleet wants it", hint=MESH_HINT) from error
            raise

    def _changed(self, path: str, since: int, timeout_s: float) -> int:
        return self._api.index(lambda **wait: self._get(path, wait), since, timeout_s)

    def _get(self, path: str, wait: Mapping[str, Any] | None = None) -> Any:
        consul = self._api.consul
        headers = consul.prepare_headers(None)
        return consul.http.get(CB.json(index=True), path, params=list((wait or {}).items()), headers=headers)


class ConsulIntentions:
    """The intentions of one Consul; see `aivailable.seams.Intentions`."""

    def __init__(self, settings: ConsulSettings) -> None:
        self._api = ConsulApi(settings)

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def set(self, source: str, destination: str, *, allow: bool) -> bool:
        """Make it so; one that is there already is left as it is."""
        action = "allow" if allow else "deny"
        listed: Any = self._api.ask(self._api.consul.connect.intentions.list)
        for known in listed or ():
            if (known["SourceName"], known["DestinationName"]) == (source, destination):
                if known.get("Action") == action:
                    return False
                if known.get("ID"):
                    self._set_by_id("put", f"{INTENTIONS_PATH}/{known['ID']}", source, destination, action)
                    return True
        self._api.ask(lambda: self._set(source, destination, action))
        return True

    def allowed(self, source: str, destination: str) -> bool:
        """What Consul would say to a connection now."""
        return bool(self._api.ask(lambda: self._api.consul.connect.intentions.check(source, destination)))

    def _set(self, source: str, destination: str, action: str) -> None:
        try:
            self._api.consul.connect.intentions.upsert(source, destination, action=action)
        except ConsulException as error:
            # Before 1.9 there were no intentions by name: it takes the word `exact` for an id, and with ACLs on lets
            # nobody write that one. A token that may not write the other form either is refused there.
            if "UUID" not in str(error) and not isinstance(error, ACLPermissionDenied):
                raise
            self._set_by_id("post", INTENTIONS_PATH, source, destination, action)

    def _set_by_id(self, method: str, path: str, source: str, destination: str, action: str) -> None:
        consul = self._api.consul
        body = {"SourceName": source, "DestinationName": destination, "SourceType": "consul", "Action": action}
        call = getattr(consul.http, method)
        self._api.ask(lambda: call(CB.json(), path, headers=consul.prepare_headers(None), data=json.dumps(body)))
