"""What `aivailable up --with` adds to a real cluster: one Nomad job each, beside controllers and gateways."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from aivailable.clients.nomad import NomadCluster
from aivailable.controller.open_webui import check_open_webui, prepare_open_webui
from aivailable.errors import UserError
from aivailable.model.names import nearest
from aivailable.model.service import OPEN_WEBUI_JOB, OPEN_WEBUI_SERVICE, PROMETHEUS_JOB
from aivailable.model.snapshot import Snapshot
from aivailable.rendering import RenderedJob, render_prometheus
from aivailable.rendering.open_webui import OPEN_WEBUI_KEY
from aivailable.seams import Secrets
from aivailable.settings import Settings

Check = Callable[[NomadCluster, Snapshot, Settings], None]
Prepare = Callable[[NomadCluster, Secrets, Snapshot, Settings], RenderedJob]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addon:
    """One thing to add.

    `job` and `service` are its names in Nomad and Consul. `prepare` makes what the job needs and renders it; `check`
    says before that whether it can run here, and changes nothing. `key` is the id of the API key it has made for
    itself, `note` what to do when it is up.
    """

    name: str
    job: str
    service: str
    prepare: Prepare
    check: Check | None = None
    key: str = ""
    note: str = ""


def needs_nothing(render: Callable[[Settings], RenderedJob]) -> Prepare:
    """A job that follows from the settings alone."""
    return lambda nomad, secrets, snapshot, settings: render(settings)  # noqa: ARG005 - the form of the others


ADDONS: Mapping[str, Addon] = {
    addon.name: addon
    for addon in (
        Addon(
            name="open-webui",
            job=OPEN_WEBUI_JOB,
            service=OPEN_WEBUI_SERVICE,
            prepare=prepare_open_webui,
            check=check_open_webui,
            key=OPEN_WEBUI_KEY,
            note="the first who signs up is its admin: do it now",
        ),
        Addon(
            name="prometheus",
            job=PROMETHEUS_JOB,
            service=PROMETHEUS_JOB,
            prepare=needs_nothing(render_prometheus),
            note="/alerts shows what is wrong",
        ),
    )
}


def find_addons(words: Iterable[str]) -> tuple[Addon, ...]:
    """The add-ons that are named, each once; a word may hold several, with commas between.

    Raises:
        UserError: There is none of that name.
    """
    names = [name.strip() for word in words for name in word.split(",")]
    for name in names:
        if name not in ADDONS:
            raise UserError(f"--with {name}: there is nothing of that name", hint=nearest(name, ADDONS))
    return tuple(ADDONS[name] for name in dict.fromkeys(names))


def running_addons(nomad: NomadCluster) -> tuple[Addon, ...]:
    """Those whose job is registered and not stopped."""
    return tuple(addon for addon in ADDONS.values() if nomad.is_registered(addon.job))
