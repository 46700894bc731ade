"""The probe port: readiness, and what Prometheus reads; that of engines by one route for each that is registered.

Engines in the mesh let in the gateways alone, so whoever reads their metrics asks a gateway. There is a route for each
address that the registry holds and none for any other, and no part of a client's request chooses where it goes.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from aivailable.gateway.admin import METRICS_PATH
from aivailable.gateway.mesh import transport_socket
from aivailable.gateway.policies import Resource
from aivailable.model.service import Instance, host_port

PROBES_FILE = "probes.json"
PROBES_NAME = "probes"

ADMIN = "admin"
FEEDER = "feeder"
ENGINES = "engines"
ENGINES_IN_THE_MESH = "engines_mesh"

READ_TIMEOUT = "10s"
"""Prometheus' own limit for one reading, its default."""
_WHERE = "x-envoy-original-dst-host"
"""By which an ORIGINAL_DST cluster knows where to connect; the route sets it, whatever the client sent."""


def engine_path(address: str, port: int) -> str:
    """Where the probe port has the metrics of the engine at that address."""
    return f"/engines/{host_port(address, port)}/metrics"


def probe_routes(instances: Iterable[Instance] = (), *, mesh: bool = False) -> Resource:
    """The probe port's routes: Envoy's own counters, the feeder's, those of each engine.

    Engines in the mesh are left out where there is no `mesh` yet: they would refuse us.
    """
    found = sorted({(i.address, i.port, i.meshed) for i in instances if mesh or not i.meshed})
    engines = [_engine(address, port, ENGINES_IN_THE_MESH if meshed else ENGINES) for address, port, meshed in found]
    own = {
        "match": {"path": "/metrics", "headers": [_is_get()], "query_parameters": []},
        "route": {"cluster": ADMIN, "regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": METRICS_PATH}},
    }
    feeder = {"match": {"path": "/metrics/feeder", "headers": [_is_get()]}, "route": {"cluster": FEEDER}}
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": PROBES_NAME,
        "virtual_hosts": [{"name": PROBES_NAME, "domains": ["*"], "routes": [own, feeder, *engines]}],
    }


def engine_clusters(*, mesh: bool = False) -> list[Resource]:
    """The clusters that lead to the engine that a route names; not those of clients."""
    plain = _to_engine(ENGINES)
    return [plain, {**_to_engine(ENGINES_IN_THE_MESH), "transport_socket": transport_socket()}] if mesh else [plain]


def write_first(directory: Path) -> None:
    """Write the routes without engines where there are none: Envoy does not start without the file."""
    path = directory / PROBES_FILE
    if not path.is_file():
        path.write_text(json.dumps({"resources": [probe_routes()]}))


def _engine(address: str, port: int, cluster: str) -> Resource:
    header = {"key": _WHERE, "value": host_port(address, port)}
    where = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "match": {"path": engine_path(address, port), "headers": [_is_get()]},
        "route": {"cluster": cluster, "prefix_rewrite": "/metrics", "timeout": READ_TIMEOUT},
        "request_headers_to_add": [where],
    }


def _to_engine(name: str) -> Resource:
    protocol = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {"use_http_header": True},
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocol,
                # A connection for each reading: there are seconds between two.
                "common_http_protocol_options": {"max_requests_per_connection": 1},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def _is_get() -> Resource:
    return {"name": ":method", "string_match": {"exact": "GET"}}
