"""Mutual TLS towards engines in Consul's mesh: who we are, whom we trust, and which endpoints are spoken to by it.

Identity and trust are Envoy secrets in a file each, so that renewed certificates touch no cluster and no connection.
Trust holds the SPIFFE URI as well: a certificate of the right authority for another service is refused.
"""

from dataclasses import dataclass

from aivailable.gateway.policies import Resource
from aivailable.model.service import ENGINE_SERVICE
from aivailable.seams import Identity

IDENTITY_FILE = "mesh_identity.json"
TRUST_FILE = "mesh_trust.json"
IDENTITY_SECRET = "mesh_identity"  # noqa: S105 - the name of a resource
TRUST_SECRET = "mesh_trust"  # noqa: S105 - the name of a resource

ENDPOINT_METADATA: Resource = {"filter_metadata": {"envoy.transport_socket_match": {"mesh": True}}}
"""What an endpoint in the mesh carries; others are spoken to in plain HTTP."""

_TYPES = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """What the certificate authority says of us: our identity, and the roots to trust in PEM form."""

    identity: Identity
    roots: str

    @property
    def engine_uri(self) -> str:
        """The SPIFFE URI of engines: ours with the last word, the service, exchanged."""
        return f"{self.identity.uri.rpartition('/')[0]}/{ENGINE_SERVICE}"


def identity_secret(mesh: Mesh) -> Resource:
    """Our certificate, with the intermediate that a rotation adds, and its key."""
    return {
        "@type": f"{_TYPES}.Secret",
        "name": IDENTITY_SECRET,
        "tls_certificate": {
            "certificate_chain": {"inline_string": mesh.identity.certificate},
            "private_key": {"inline_string": mesh.identity.key},
        },
    }


def trust_secret(mesh: Mesh) -> Resource:
    """The roots, and the one name that an engine's certificate must have."""
    name = {"san_type": "URI", "matcher": {"exact": mesh.engine_uri}}
    return {
        "@type": f"{_TYPES}.Secret",
        "name": TRUST_SECRET,
        "validation_context": {
            "trusted_ca": {"inline_string": mesh.roots},
            "match_typed_subject_alt_names": [name],
        },
    }


def transport_socket_matches() -> list[Resource]:
    """What a cluster needs to speak mutual TLS to its endpoints in the mesh."""
    return [{"name": "mesh", "match": {"mesh": True}, "transport_socket": transport_socket()}]


def transport_socket() -> Resource:
    """What speaks mutual TLS to an engine: our identity, and nobody trusted but engines."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}.UpstreamTlsContext",
            "common_tls_context": {
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "tls_certificate_sds_secret_configs": [_secret(IDENTITY_SECRET, IDENTITY_FILE)],
                "validation_context_sds_secret_config": _secret(TRUST_SECRET, TRUST_FILE),
            },
        },
    }


def _secret(name: str, file: str) -> Resource:
    source = {"resource_api_version": "V3", "path_config_source": {"path": f"./{file}"}}
    return {"name": name, "sds_config": source}
