"""What is done to a real Nomad's nodes: whether they get work, and their drain."""

from collections.abc import Mapping
from typing import Any

from aivailable.clients.nomad_allocations import GONE
from aivailable.clients.nomad_api import NomadApi
from aivailable.errors import UserError
from aivailable.model.names import nearest

_NS = 1_000_000_000
_AT_ONCE_NS = -1
"""Nomad's own sign for a drain that does not wait; 0 would be one that waits for ever."""


class NomadNodes:
    """The nodes of one Nomad region; part of `aivailable.seams.Cluster`."""

    def __init__(self, api: NomadApi) -> None:
        self._api = api

    def set_eligibility(self, node: str, *, eligible: bool) -> None:
        """Say whether a node may be given new work; see `aivailable.seams.Cluster`.

        One write ends a drain and makes the node eligible, so that nothing lies between the two.

        Raises:
            UserError: There is no node of that name.
        """
        node_id = self._node_id(node)
        if eligible:
            body = {"NodeID": node_id, "DrainSpec": None, "MarkEligible": True}
            self._api.put(f"/v1/node/{node_id}/drain", body)
        else:
            self._api.put(f"/v1/node/{node_id}/eligibility", {"NodeID": node_id, "Eligibility": "ineligible"})

    def drain(self, node: str, *, deadline_s: float) -> None:
        """Move everything off a node; see `aivailable.seams.Cluster`.

        Raises:
            UserError: There is no node of that name.
        """
        node_id = self._node_id(node)
        deadline_ns = round(deadline_s * _NS) if deadline_s > 0 else _AT_ONCE_NS
        spec = {"Deadline": deadline_ns, "IgnoreSystemJobs": False}
        self._api.put(f"/v1/node/{node_id}/drain", {"NodeID": node_id, "DrainSpec": spec})

    def running_on(self, node: str) -> tuple[str, ...]:
        """The ids of the jobs that hold something of a node, sorted; see `aivailable.seams.Cluster`."""
        found = _named(self._stubs(), node)
        allocations = self._api.get(f"/v1/node/{found['ID']}/allocations") or [] if found else []
        return tuple(sorted({a["JobID"] for a in allocations if a["ClientStatus"] not in GONE}))

    def _stubs(self) -> list[Mapping[str, Any]]:
        return self._api.get("/v1/nodes") or []

    def _node_id(self, node: str) -> str:
        stubs = self._stubs()
        found = _named(stubs, node)
        if found is None:
            names = sorted({str(stub["Name"]) for stub in stubs})
            raise UserError(f"there is no node {node!r}", hint=nearest(node, names))
        return str(found["ID"])


def _named(stubs: list[Mapping[str, Any]], node: str) -> Mapping[str, Any] | None:
    """The node of that name; a living one before one that is down, which an earlier life of the machine left."""
    named = sorted((stub for stub in stubs if stub["Name"] == node), key=lambda stub: str(stub["Status"]) == "down")
    return named[0] if named else None
