"""Our gateway as it runs (configuration made by the product's own code), and Envoy with nothing but a route."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aivailable.gateway.bootstrap import bootstrap
from aivailable.gateway.envoy import arguments, envoy_command
from aivailable.gateway.mesh import Mesh
from aivailable.gateway.policies import Policies, Resource
from aivailable.gateway.publishing import Inputs, Publisher, files
from aivailable.model.fleet import Fleet, ModelSpec, Variant
from aivailable.model.service import ENGINE_SERVICE, ApiKey, Instance
from aivailable.settings import Settings, shipped
from bench.gateway.processes import free_port, running

MODELS = ("m-a", "m-b", "m-c")
KEY = "sk-bench-0123456789abcdef0123456789abcdef"
KEYS = (
    ApiKey(id="bench", secret=KEY),
    ApiKey(id="other", secret="sk-other", models=("m-b",)),  # noqa: S106 - of a benchmark
    ApiKey(id="limited", secret="sk-limited", rpm=60, tpm=10_000),  # noqa: S106 - as above
)


@contextmanager
def full(
    folder: Path, ports: tuple[int, ...], *, mesh: Mesh | None = None, workers: int | None = None
) -> Iterator[tuple[int, int]]:
    """The whole configuration, three models on these ports; gives pid and port. With `mesh` by mutual TLS."""
    folder.mkdir()
    settings = Settings(state=folder)
    if workers:
        settings = settings.model_copy(update={"gateway_workers": workers})
    policies = Policies.read(shipped("envoy"))
    fleet = Fleet(models=tuple(_model(name) for name in MODELS))
    instances = tuple(
        Instance(
            id=f"{name}-{port}",
            service=ENGINE_SERVICE,
            address="127.0.0.1",
            port=port,
            passing=True,
            meta={"model": name, "mesh": "host" if mesh else "none"},
        )
        for name in MODELS
        for port in ports
    )
    inputs = Inputs(fleet=fleet, keys=KEYS, instances=instances, mesh=mesh)
    Publisher(folder).publish(files(inputs, settings, policies))
    port = free_port()
    document = bootstrap(settings, policies, http_port=port, probe_port=free_port())
    with _envoy(folder, document, port, settings) as pid:
        yield pid, port


@contextmanager
def bare(folder: Path, ports: tuple[int, ...], *, workers: int | None = None) -> Iterator[tuple[int, int]]:
    """A listener, a route, a cluster: what Envoy costs by itself."""
    folder.mkdir()
    port = free_port()
    settings = Settings(state=folder)
    if workers:
        settings = settings.model_copy(update={"gateway_workers": workers})
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": p}}}} for p in ports
    ]
    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "engines", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}
        ],
    }
    document = {
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "engines",
                    "type": "STATIC",
                    "lb_policy": "LEAST_REQUEST",
                    "circuit_breakers": {
                        "thresholds": [
                            {"max_connections": 100000, "max_requests": 100000, "max_pending_requests": 100000}
                        ]
                    },
                    "load_assignment": {"cluster_name": "engines", "endpoints": [{"lb_endpoints": endpoints}]},
                }
            ],
        },
    }
    with _envoy(folder, document, port, settings) as pid:
        yield pid, port


@contextmanager
def _envoy(folder: Path, document: Resource, port: int, settings: Settings) -> Iterator[int]:
    (folder / "bootstrap.json").write_text(json.dumps(document))
    with running([envoy_command(), *arguments(settings)], port, folder / "envoy.log") as pid:
        yield pid


def headers(*, x_model: bool) -> Mapping[str, str]:
    """What a client of ours sends besides its body."""
    sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    return {**sent, "x-model": MODELS[0]} if x_model else sent


def _model(name: str) -> ModelSpec:
    return ModelSpec(name=name, variants=(Variant(source=f"node:{name}.gguf"),), replicas=2, queue=10_000)
