"""What Envoy reads of answers and counts: tokens by key and model, in its access log and its Prometheus counters.

Nothing of it is on the way of a request through Python: Envoy's filters read JSON and SSE answers, its stats logger
counts, and `meter` reads the counters now and then.
"""

from aivailable.gateway.policies import MODEL_HEADER, Resource

NAMESPACE = "aivailable.usage"
CLIENT_NAMESPACE = "aivailable"
"""Where the id of the key stands once the key is known to be good; the header alone could come from the client."""

STAT_PREFIX = "llm"

FIELDS = {
    "prompt": (
        ("usage", "prompt_tokens"),
        ("usage", "input_tokens"),
        ("message", "usage", "input_tokens"),
        ("response", "usage", "input_tokens"),
    ),
    "completion": (
        ("usage", "completion_tokens"),
        ("usage", "output_tokens"),
        ("response", "usage", "output_tokens"),
    ),
    "cached": (
        ("usage", "prompt_tokens_details", "cached_tokens"),
        ("usage", "input_tokens_details", "cached_tokens"),
        ("response", "usage", "input_tokens_details", "cached_tokens"),
    ),
    "cache_read": (("usage", "cache_read_input_tokens"), ("message", "usage", "cache_read_input_tokens")),
    "timed_prompt": (("timings", "prompt_n"),),
    "timed_cached": (("timings", "cache_n"),),
    "timed_completion": (("timings", "predicted_n"),),
}
"""Where answers tell their usage: chat and completions, `/v1/responses`, `/v1/messages` (whose input leaves out what
was read from the cache), whole or in the events of a stream; and llama.cpp's `timings`, which it sends with every
stream (its `prompt_n` leaves the cached tokens out). vLLM is started with `--enable-force-include-usage`."""

JSON_TYPES = {"regex": r"(?i)application/json(\s*;.*)?"}
"""With or without a character set: clients and llama.cpp name one."""

_CLIENT = f"%DYNAMIC_METADATA({CLIENT_NAMESPACE}:client)%"
_STATS = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"


def response_rules() -> list[Resource]:
    """Rules of `json_to_metadata` for JSON answers."""
    return [
        {
            "selectors": [{"key": part} for part in path],
            "on_present": {"metadata_namespace": NAMESPACE, "key": name, "type": "NUMBER"},
        }
        for name, paths in FIELDS.items()
        for path in paths
    ]


def json_filter() -> Resource:
    """The filter that reads whole answers."""
    return {
        "name": "envoy.filters.http.json_to_metadata",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
            "response_rules": {"allow_content_types_regex": JSON_TYPES, "rules": response_rules()},
        },
    }


def stream_filter() -> Resource:
    """The filter that reads the events of streamed answers; the last event that tells it counts."""
    base = "type.googleapis.com/envoy.extensions"
    return {
        "name": "envoy.filters.http.sse_to_metadata",
        "typed_config": {
            "@type": f"{base}.filters.http.sse_to_metadata.v3.SseToMetadata",
            "response_rules": {
                "content_parser": {
                    "name": "envoy.content_parsers.json",
                    "typed_config": {
                        "@type": f"{base}.content_parsers.json.v3.JsonContentParser",
                        "rules": [{"rule": rule} for rule in response_rules()],
                    },
                }
            },
        },
    }


def log_fields() -> Resource:
    """What the access log says of an answer's tokens; null where it did not tell."""
    return {f"{name}_tokens": f"%DYNAMIC_METADATA({NAMESPACE}:{name})%" for name in FIELDS}


def loggers() -> list[Resource]:
    """The stats loggers: requests with their times, tokens by `usage`, else by `timings`, else as unknown."""
    told, timed = _told("completion"), _told("timed_completion")
    # Embeddings have a prompt and no completion.
    prompt_only = _all([_not_told("completion"), _told("prompt"), _not_told("timed_completion")])
    unknown = _all([_answered(), *(_not_told(name) for name in ("prompt", "completion", "timed_completion"))])
    return [
        _logger(None, {"requests": "1"}, code=True),
        _logger(told, {"prompt_tokens": "prompt", "completion_tokens": "completion"}),
        _logger(prompt_only, {"prompt_tokens": "prompt"}),
        _logger(_told("cached"), {"cached_tokens": "cached"}),
        _logger(_told("cache_read"), {"prompt_tokens": "cache_read", "cached_tokens": "cache_read"}),
        _logger(_all([_not_told("completion"), timed]), {"completion_tokens": "timed_completion"}),
        _logger(_all([_not_told("completion"), timed]), {"prompt_tokens": "timed_prompt"}),
        _logger(_all([_not_told("completion"), timed]), {"prompt_tokens": "timed_cached"}),
        _logger(_all([_not_told("cached"), timed]), {"cached_tokens": "timed_cached"}),
        _logger(unknown, {"unknown": "1"}),
        _times(),
    ]


def _logger(condition: Resource | None, counters: dict[str, str], *, code: bool = False) -> Resource:
    entries = [
        {"stat": {"name": name, "tags": _tags(code=code)}, **_counted(value)} for name, value in counters.items()
    ]
    config = {"@type": _STATS, "stat_prefix": STAT_PREFIX, "counters": entries}
    logger: Resource = {"name": "envoy.access_loggers.stats", "typed_config": config}
    return {**logger, "filter": condition} if condition else logger


def _counted(value: str) -> Resource:
    """One for each request, or the number that an answer told."""
    return {"value_fixed": 1} if value == "1" else {"value_format": f"%DYNAMIC_METADATA({NAMESPACE}:{value})%"}


def _times() -> Resource:
    histograms = [
        {
            "stat": {"name": name, "tags": [{"name": "model", "value_format": "%ROUTE_NAME%"}]},
            "unit": "Milliseconds",
            "value_format": value,
        }
        for name, value in (("duration_ms", "%DURATION%"), ("first_byte_ms", "%RESPONSE_DURATION%"))
    ]
    config = {"@type": _STATS, "stat_prefix": STAT_PREFIX, "histograms": histograms}
    return {"name": "envoy.access_loggers.stats", "filter": _answered(), "typed_config": config}


def _tags(*, code: bool) -> list[Resource]:
    tags = [{"name": "model", "value_format": "%ROUTE_NAME%"}, {"name": "client", "value_format": _CLIENT}]
    return [*tags, {"name": "code", "value_format": "%RESPONSE_CODE%"}] if code else tags


def _told(name: str) -> Resource:
    return _metadata(name, {"present_match": True}, when_missing=False)


def _not_told(name: str) -> Resource:
    """The filter ignores `invert`; a number never equals a text, so what is there does not match."""
    return _metadata(name, {"string_match": {"exact": "__never__"}}, when_missing=True)


def _metadata(name: str, value: Resource, *, when_missing: bool) -> Resource:
    matcher = {"filter": NAMESPACE, "path": [{"key": name}], "value": value}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": when_missing}}


def _answered() -> Resource:
    """An engine's whole answer: 200, and the request named a model."""
    return _all([_ok(), {"header_filter": {"header": {"name": MODEL_HEADER, "present_match": True}}}])


def _ok() -> Resource:
    value = {"default_value": 200, "runtime_key": "aivailable.answered"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _all(filters: list[Resource]) -> Resource:
    return {"and_filter": {"filters": filters}}
