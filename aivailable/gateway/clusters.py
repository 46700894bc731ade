"""CDS and EDS: one cluster per model, its endpoints the passing instances of that model."""

from aivailable.gateway.mesh import ENDPOINT_METADATA, transport_socket_matches
from aivailable.gateway.policies import Policies, Resource
from aivailable.gateway.probes import engine_clusters
from aivailable.model.fleet import Fleet, ModelSpec
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


def clusters(fleet: Fleet, policies: Policies, *, mesh: bool = False) -> list[Resource]:
    """All clusters; with `mesh` they can speak mutual TLS."""
    nowhere = {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": NOWHERE,
        "type": "STATIC",
        "load_assignment": {"cluster_name": NOWHERE, "endpoints": []},
    }
    return [nowhere, *engine_clusters(mesh=mesh), *(_cluster(model, policies, mesh) for model in fleet.models)]


def load_assignment(model: str, instances: tuple[Instance, ...], *, mesh: bool = False) -> Resource:
    """The endpoints of a model: the addresses of its passing instances, sorted.

    Those in the mesh are left out where there is no `mesh` yet: they would refuse us.
    """
    addresses = sorted(
        {
            (i.address, i.port, i.meshed)
            for i in instances
            if i.passing and i.meta.get("model") == model and (mesh or not i.meshed)
        }
    )
    return {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster_name(model),
        "endpoints": [{"lb_endpoints": [_endpoint(*address) for address in addresses]}],
    }


def _endpoint(address: str, port: int, meshed: bool) -> Resource:  # noqa: FBT001 - three parts of one key
    endpoint: Resource = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
    return {**endpoint, "metadata": ENDPOINT_METADATA} if meshed else endpoint


def _cluster(model: ModelSpec, policies: Policies, mesh: bool) -> Resource:  # noqa: FBT001 - as above
    source = {"resource_api_version": "V3", "path_config_source": {"path": f"./{endpoints_file(model.name)}"}}
    (breakers,) = policies.upstream["circuit_breakers"]["thresholds"]
    at_once = model.replicas * (model.concurrency + model.queue)
    cluster = {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": cluster_name(model.name),
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source},
        **policies.upstream,
        "circuit_breakers": {"thresholds": [{**breakers, "max_requests": at_once}]},
    }
    return {**cluster, "transport_socket_matches": transport_socket_matches()} if mesh else cluster
