"""Requests per minute by key, in Envoy's local rate limit; each gateway allows its share. OpenAI's headers tell it.

The filter is discovered (ECDS), as the keys are, and requests of keys without a limit pass by it.
"""

from aivailable.gateway.keys import CLIENT_HEADER
from aivailable.gateway.policies import Resource
from aivailable.gateway.skipping import SKIPPING_TYPE, only_for
from aivailable.model.service import ApiKey

LIMITS_FILE = "limits.json"
RATE_FILTER = "rate"
HEADERS_FILTER = "envoy.filters.http.header_mutation"

MINUTE_S = 60
UNLIMITED = 4_000_000_000
"""Envoy wants a bucket for requests that no key's limit is about; there are none, and it is never empty."""

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
_RENAMED = {"limit": "limit-requests", "remaining": "remaining-requests", "reset": "reset-requests"}
"""Envoy's header names after `x-ratelimit-`, and OpenAI's."""


def rate_filter() -> Resource:
    """The filter as the listener names it."""
    source = {"resource_api_version": "V3", "path_config_source": {"path": f"./{LIMITS_FILE}"}}
    return {"name": RATE_FILTER, "config_discovery": {"config_source": source, "type_urls": [SKIPPING_TYPE]}}


def headers_filter() -> Resource:
    """Gives Envoy's rate limit headers the names that OpenAI's clients read. Must stand before the rate filter."""
    mutations: list[Resource] = []
    for envoy, openai in _RENAMED.items():
        value = {"key": f"x-ratelimit-{openai}", "value": f"%RESP(X-RATELIMIT-{envoy.upper()})%"}
        mutations.append({"append": {"header": value, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}})
    mutations += [{"remove": f"x-ratelimit-{envoy}"} for envoy in _RENAMED]
    return {
        "name": HEADERS_FILTER,
        "typed_config": {
            "@type": f"{_FILTERS}.header_mutation.v3.HeaderMutation",
            "mutations": {"response_mutations": mutations},
        },
    }


def rate_limits(keys: tuple[ApiKey, ...], gateways: int) -> Resource:
    """The filter's configuration: the limits of all keys that have one.

    A bucket holds a minute's share of this gateway and fills evenly.
    """
    limited = [key for key in keys if key.rpm]
    limit = {
        "@type": f"{_FILTERS}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "rate",
        "filter_enabled": {**_ALWAYS, "runtime_key": "aivailable.rate_enabled"},
        "filter_enforced": {**_ALWAYS, "runtime_key": "aivailable.rate_enforced"},
        "token_bucket": {"max_tokens": UNLIMITED, "tokens_per_fill": UNLIMITED, "fill_interval": f"{MINUTE_S}s"},
        "always_consume_default_token_bucket": False,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limits": [{"actions": [{"request_headers": {"header_name": CLIENT_HEADER, "descriptor_key": "client"}}]}],
        "descriptors": [
            {"entries": [{"key": "client", "value": key.id}], "token_bucket": _bucket(key.rpm, gateways)}
            for key in limited
        ],
    }
    extension = {"name": "envoy.filters.http.local_ratelimit", "typed_config": limit}
    return {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": RATE_FILTER,
        "typed_config": only_for(CLIENT_HEADER, [key.id for key in limited], extension),
    }


def _bucket(rpm: int, gateways: int) -> Resource:
    share = max(1, -(-rpm // max(1, gateways)))
    return {"max_tokens": share, "tokens_per_fill": share, "fill_interval": f"{MINUTE_S}s"}
