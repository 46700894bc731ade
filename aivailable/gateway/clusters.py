"""CDS and EDS: one cluster per model, its endpoints the passing instances of that model."""

from aivailable.gateway.policies import Policies, Resource
from aivailable.model.fleet import Fleet
from aivailable.model.names import slug
from aivailable.model.service import Instance

CLUSTERS_FILE = "clusters.json"
NOWHERE = "nowhere"
"""The cluster without endpoints that requests are routed to before their body is read."""


def cluster_name(model: str) -> str:
    """Envoy's name for a model's cluster; statistics carry it."""
    return f"llm_{slug(model)}"


def endpoints_file(model: str) -> str:
    """The EDS file of a model, relative to the gateway's directory."""
    return f"endpoints_{slug(model)}.json"


def clusters(fleet: Fleet, policies: Policies) -> list[Resource]:
    """All clusters."""
    nowhere = {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": NOWHERE,
        "type": "STATIC",
        "load_assignment": {"cluster_name": NOWHERE, "endpoints": []},
    }
    return [nowhere, *(_cluster(model.name, policies) for model in fleet.models)]


def load_assignment(model: str, instances: tuple[Instance, ...]) -> Resource:
    """The endpoints of a model: the addresses of its passing instances, sorted."""
    addresses = sorted({(i.address, i.port) for i in instances if i.passing and i.meta.get("model") == model})
    return {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster_name(model),
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
                    for address, port in addresses
                ]
            }
        ],
    }


def _cluster(model: str, policies: Policies) -> Resource:
    source = {"resource_api_version": "V3", "path_config_source": {"path": f"./{endpoints_file(model)}"}}
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": cluster_name(model),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source},
        **policies.upstream,
    }
