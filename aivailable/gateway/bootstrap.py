"""Envoy's bootstrap: what never changes while it runs. All paths are relative to the gateway's directory."""

from aivailable.gateway import usage
from aivailable.gateway.admin import ADMIN_SOCKET
from aivailable.gateway.clusters import CLUSTERS_FILE
from aivailable.gateway.feeder_metrics import FEEDER_SOCKET
from aivailable.gateway.keys import AUTH_FILTER, AUTH_TYPE, CLIENT_HEADER, KEYS_FILE
from aivailable.gateway.limits import headers_filter, rate_filter
from aivailable.gateway.naming import model_filters
from aivailable.gateway.policies import Policies, Resource
from aivailable.gateway.probes import ADMIN, FEEDER, PROBES_FILE, PROBES_NAME
from aivailable.gateway.routes import ROUTES_FILE, ROUTES_NAME
from aivailable.gateway.tls import transport_socket
from aivailable.settings import Settings

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
STREAM_IDLE_TIMEOUT = "600s"
"""Longest silence on a stream, unless its model's route says another."""

_HCM = f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager"


def bootstrap(settings: Settings, policies: Policies, *, http_port: int, probe_port: int) -> Resource:
    """The bootstrap document: admin on a Unix socket, the two listeners, and where the changing parts come from."""
    return {
        "node": {"id": "gateway", "cluster": "aivailable"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET}}},
        "dynamic_resources": {"cds_config": _file_source(CLUSTERS_FILE)},
        "static_resources": {
            "clusters": [_on_socket(ADMIN, ADMIN_SOCKET), _on_socket(FEEDER, FEEDER_SOCKET)],
            "listeners": [
                _listener(
                    "http",
                    settings.gateway_address,
                    http_port,
                    _http_manager(policies),
                    transport_socket=transport_socket(settings),
                ),
                _listener("probes", settings.gateway_address, probe_port, _probe_manager()),
            ],
        },
    }


def _listener(
    name: str, address: str, port: int, manager: Resource, *, transport_socket: Resource | None = None
) -> Resource:
    # Inbound is what is drained; probes and metrics answer to the end.
    chain: Resource = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if transport_socket:
        chain["transport_socket"] = transport_socket
    direction = {"traffic_direction": "INBOUND"} if name == "http" else {}
    return {
        "name": name,
        **direction,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [chain],
    }


def _http_manager(policies: Policies) -> Resource:
    return {
        "@type": _HCM,
        "stat_prefix": "http",
        "codec_type": "AUTO",
        "server_name": "aivailable",
        "rds": {"route_config_name": ROUTES_NAME, "config_source": _file_source(ROUTES_FILE)},
        "http_filters": _filters(policies),
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "access.log",
                    "log_format": {"json_format": {**policies.access_log, **usage.log_fields()}},
                },
            },
            *usage.loggers(),
        ],
        "local_reply_config": {"mappers": policies.local_replies},
        "stream_idle_timeout": STREAM_IDLE_TIMEOUT,
        "request_headers_timeout": "10s",
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
    }


def _filters(policies: Policies) -> list[Resource]:
    """In order: preflights need no key; no body is read without one; rights are judged when the model is known.

    `header_to_metadata` makes Envoy choose the route anew once it is known whose key it is: `/v1/models` differs.
    """
    return [
        {"name": "envoy.filters.http.cors", "typed_config": {"@type": f"{HTTP}.cors.v3.Cors"}},
        {
            "name": AUTH_FILTER,
            "config_discovery": {"config_source": _file_source(KEYS_FILE), "type_urls": [AUTH_TYPE]},
        },
        {
            "name": "envoy.filters.http.header_to_metadata",
            "typed_config": {
                "@type": f"{HTTP}.header_to_metadata.v3.Config",
                "request_rules": [
                    {
                        "header": CLIENT_HEADER,
                        "on_header_present": {
                            "metadata_namespace": usage.CLIENT_NAMESPACE,
                            "key": "client",
                            "type": "STRING",
                        },
                    }
                ],
            },
        },
        headers_filter(),
        rate_filter(),
        *model_filters(policies),
        usage.json_filter(),
        usage.stream_filter(),
        {"name": "envoy.filters.http.rbac", "typed_config": {"@type": f"{HTTP}.rbac.v3.RBAC"}},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": f"{HTTP}.router.v3.Router",
                "dynamic_stats": False,
                "suppress_envoy_headers": True,
            },
        },
    ]


def _probe_manager() -> Resource:
    """`/ready` for load balancers and supervisors, metrics for Prometheus by the routes of `probes`: no key, no log."""
    is_ready = {"name": ":path", "string_match": {"exact": "/ready"}}
    return {
        "@type": _HCM,
        "stat_prefix": "probes",
        "server_name": "aivailable",
        "rds": {"route_config_name": PROBES_NAME, "config_source": _file_source(PROBES_FILE)},
        "http_filters": [
            {
                "name": "envoy.filters.http.health_check",
                "typed_config": {
                    "@type": f"{HTTP}.health_check.v3.HealthCheck",
                    "pass_through_mode": False,
                    "headers": [is_ready],
                },
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}},
        ],
    }


def _on_socket(name: str, path: str) -> Resource:
    """What listens on a Unix socket in the gateway's directory: Envoy's own admin interface, and the feeder."""
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}],
        },
    }


def _file_source(path: str) -> Resource:
    return {"resource_api_version": "V3", "path_config_source": {"path": f"./{path}"}}
