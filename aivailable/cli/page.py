"""The web page as the long-running verbs start it: what it looks at on a real cluster and on this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aivailable.cli.connection import Connection
from aivailable.clients.gateway_metrics import read_gateways
from aivailable.clients.nomad import NomadCluster
from aivailable.controller.metrics import Metrics
from aivailable.gateway.tls import with_own_certificate
from aivailable.model.service import GATEWAY_SERVICE, host_port
from aivailable.page.access import Keyring
from aivailable.page.app import application
from aivailable.page.looking import Eyes, Live, Looker
from aivailable.page.server import Tls, serving
from aivailable.seams import Secrets
from aivailable.settings import Settings


@contextmanager
def page(
    eyes: Eyes, secrets: Secrets, metrics: Metrics, settings: Settings, *, address: str, port: int, directory: Path
) -> Iterator[str]:
    """Serve the page and the metrics for as long as the context lasts; gives the page's address.

    By HTTPS where the gateways speak it, because the same keys are sent here. `directory` keeps a certificate that is
    made here (AIVAILABLE_TLS_SELF_SIGNED).

    Raises:
        UserError: The port or the certificate cannot be used.
    """
    app = application(Live(Looker(eyes).look), Keyring(secrets), metrics.registry)
    if settings.tls_self_signed:
        directory.mkdir(parents=True, exist_ok=True)
    settings = with_own_certificate(settings.model_copy(update={"gateway_address": address}), directory)
    tls = Tls(settings.tls_certificate, settings.tls_key) if settings.tls_certificate and settings.tls_key else None
    with serving(app, address, port, tls):
        yield f"{settings.gateway_scheme}://{host_port(address, port)}"


def eyes_of_a_real_cluster(connection: Connection, nomad: NomadCluster) -> Eyes:
    """What the page of a controller looks at; gateways are those that Consul finds healthy."""
    settings, registry = connection.settings, connection.registry

    def gateways() -> Mapping[str, str]:
        found = [instance for instance in registry.instances(GATEWAY_SERVICE) if instance.passing]
        ports = {g.node: int(g.meta.get("probe") or settings.probe_port) for g in found}
        return read_gateways({g.node: host_port(g.address, ports[g.node]) for g in found})

    def base_urls() -> tuple[str, ...]:
        scheme, port = settings.gateway_scheme, settings.gateway_port
        named = (f"{scheme}://{GATEWAY_SERVICE}.service.consul:{port}/v1",)
        found = sorted((g.address, g.port) for g in registry.instances(GATEWAY_SERVICE) if g.passing)
        numbered = tuple(f"{scheme}://{host_port(address, port)}/v1" for address, port in found)
        # A certificate that clients can check is for the name; a browser need not have Consul's DNS otherwise.
        return (*named, *numbered) if settings.tls_certificate else (*numbered, *named)

    return Eyes(
        cluster=connection.cluster,
        registry=registry,
        gateways=gateways,
        in_use_mib=nomad.cards_in_use,
        base_urls=base_urls,
    )
