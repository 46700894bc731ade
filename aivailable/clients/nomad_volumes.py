"""Dynamic host volumes of a real Nomad (1.10 and later): a directory on one node, where a job finds its data again."""

from dataclasses import dataclass
from typing import Any

from aivailable.clients.nomad_api import NomadApi
from aivailable.errors import PermanentError, UserError

PLUGIN = "mkdir"
"""Nomad's own: it makes a directory below the client's `host_volumes_dir`."""
READ_WRITE = {"AccessMode": "single-node-writer", "AttachmentMode": "file-system"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostVolume:
    """Where a volume lies: its node's id and the directory there."""

    node_id: str
    path: str


class NomadVolumes:
    """The host volumes of one Nomad region and namespace."""

    def __init__(self, api: NomadApi) -> None:
        self._api = api

    def find(self, name: str) -> HostVolume | None:
        """The one volume of a name, or None.

        Raises:
            UserError: There are several: which of them holds the data nobody but the user knows.
        """
        found = [stub for stub in self._api.get("/v1/volumes", type="host") or [] if stub["Name"] == name]
        if len(found) > 1:
            where = ", ".join(f"{stub['ID']} on node {stub['NodeID']}" for stub in found)
            raise UserError(
                f"there are {len(found)} host volumes {name}: {where}",
                hint="`nomad volume delete -type host ID` removes one, with what is in it",
            )
        return _volume(self._api.get(f"/v1/volume/host/{found[0]['ID']}") or {}) if found else None

    def create(self, name: str, node_id: str) -> HostVolume:
        """A new one on that node.

        Raises:
            UserError: The token may not make one.
            PermanentError: This Nomad knows no such volumes.
        """
        wanted = {"Name": name, "PluginID": PLUGIN, "NodeID": node_id, "RequestedCapabilities": [READ_WRITE]}
        answer = self._api.put("/v1/volume/host/create", {"Volume": wanted})
        if answer is None:
            raise PermanentError(f"Nomad cannot make the host volume {name}", hint="that takes Nomad 1.10 or newer")
        return _volume(answer["Volume"])


def _volume(document: dict[str, Any]) -> HostVolume:
    return HostVolume(node_id=str(document.get("NodeID", "")), path=str(document.get("HostPath", "")))
