"""ECDS: the API keys as the configuration of Envoy's key filter, so that a changed key touches no listener."""

from aivailable.gateway.policies import Resource
from aivailable.model.service import ApiKey

AUTH_FILTER = "auth"
AUTH_TYPE = "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth"
KEYS_FILE = "keys.json"
CLIENT_HEADER = "x-client-id"
"""Which key a request came with, by its public id; the key itself goes no further."""


def key_filter(keys: tuple[ApiKey, ...]) -> Resource:
    """The key filter's configuration: `Authorization: Bearer KEY` or `x-api-key: KEY`."""
    return {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": AUTH_FILTER,
        "typed_config": {
            "@type": AUTH_TYPE,
            "key_sources": [{"header": "Authorization"}, {"header": "x-api-key"}],
            "forwarding": {"header": CLIENT_HEADER, "hide_credentials": True},
            "credentials": [{"key": key.secret, "client": key.id} for key in keys],
        },
    }
