"""What Open WebUI needs on a real cluster before its job can run: a node that runs it, its volume, key and secret."""

import secrets as random_source

from aivailable.clients.nomad import NomadCluster
from aivailable.clients.nomad_volumes import HostVolume
from aivailable.controller.system import CONSUL_META
from aivailable.errors import UserError
from aivailable.keystore import create_key, read_key
from aivailable.model.cards import Node
from aivailable.model.snapshot import Snapshot
from aivailable.rendering import RenderedJob, render_open_webui
from aivailable.rendering.open_webui import OPEN_WEBUI_KEY, OPEN_WEBUI_VARIABLE, OPEN_WEBUI_VOLUME
from aivailable.seams import Secrets
from aivailable.settings import Settings

SECRET_ITEM = "WEBUI_SECRET_KEY"  # noqa: S105 - the name of a variable
SECRET_BYTES = 32


def check_open_webui(nomad: NomadCluster, snapshot: Snapshot, settings: Settings) -> None:
    """Whether it can run here; nothing is changed.

    Raises:
        UserError: No node runs it, or the one with its data is away.
    """
    volume = nomad.volumes.find(OPEN_WEBUI_VOLUME)
    if volume is None:
        _choose(snapshot, settings)
        return
    node = next((node for node in snapshot.nodes if node.id == volume.node_id), None)
    if node is None or not _able(node, settings):
        raise UserError(
            f"Open WebUI's data lies on node {node.name if node else volume.node_id}, which cannot run it now",
            hint="bring that node back (ready, eligible, with Docker), or move the data: docs/open-webui.md",
        )


def prepare_open_webui(nomad: NomadCluster, secrets: Secrets, snapshot: Snapshot, settings: Settings) -> RenderedJob:
    """Its job, once its volume, key and secret are there; those that are there already are left as they are."""
    volume = nomad.volumes.find(OPEN_WEBUI_VOLUME) or _create(nomad, snapshot, settings)
    if read_key(secrets, OPEN_WEBUI_KEY) is None:
        create_key(secrets, OPEN_WEBUI_KEY)
    items = secrets.read(OPEN_WEBUI_VARIABLE) or {}
    if SECRET_ITEM not in items:
        secrets.write(OPEN_WEBUI_VARIABLE, {**items, SECRET_ITEM: random_source.token_urlsafe(SECRET_BYTES)})
    return render_open_webui(settings, data=volume.path)


def _create(nomad: NomadCluster, snapshot: Snapshot, settings: Settings) -> HostVolume:
    return nomad.volumes.create(OPEN_WEBUI_VOLUME, _choose(snapshot, settings).id)


def _choose(snapshot: Snapshot, settings: Settings) -> Node:
    """The node that gets its data: of those that can run it, one with few cards, which stays when cards go."""
    able = [node for node in snapshot.nodes if _able(node, settings)]
    if not able:
        driver = _driver(settings)
        raise UserError(
            f"Open WebUI: no ready node has the task driver {driver}",
            hint="install Docker on a node, or set AIVAILABLE_OPEN_WEBUI_COMMAND. The controllers' page has a chat "
            f"that needs nothing: http://NODE:{settings.controller_port} with a key",
        )
    return min(able, key=lambda node: (len(node.cards), node.name))


def _able(node: Node, settings: Settings) -> bool:
    needed = {_driver(settings), "raw_exec"}
    return node.ready and node.eligible and not node.leaving and CONSUL_META in node.meta and needed <= {*node.drivers}


def _driver(settings: Settings) -> str:
    return "raw_exec" if settings.open_webui_command else "docker"
