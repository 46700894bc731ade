"""The filters that find the model a request names: a script that looks, and Envoy's JSON parser where it sees nothing.

The script costs a third of the parser with long prompts: a body is not parsed as a whole to find one name.
"""

from aivailable.gateway.policies import (
    MODEL_HEADER,
    MODEL_MISSING,
    MODEL_NAMESPACE,
    MODEL_UNREADABLE,
    Policies,
    Resource,
)
from aivailable.gateway.skipping import unless_present
from aivailable.gateway.usage import JSON_TYPES

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"


def model_filters(policies: Policies) -> list[Resource]:
    """In order; after them the header `x-model` names a model, or nobody could find one."""
    return [
        _script("model", policies.model),
        _unless_known(_parser()),
        _unless_known(_script("model_parsed", policies.model_parsed)),
    ]


def _unless_known(extension: Resource) -> Resource:
    return {
        "name": "envoy.filters.http.match_delegate",
        "typed_config": unless_present(MODEL_HEADER, extension),
    }


def _parser() -> Resource:
    return {
        "name": "envoy.filters.http.json_to_metadata",
        "typed_config": {
            "@type": f"{_HTTP}.json_to_metadata.v3.JsonToMetadata",
            "request_rules": {
                "allow_content_types_regex": JSON_TYPES,
                "rules": [
                    {
                        "selectors": [{"key": "model"}],
                        "on_present": {"metadata_namespace": MODEL_NAMESPACE, "key": "model", "type": "STRING"},
                        "on_missing": _found(MODEL_MISSING),
                        "on_error": _found(MODEL_UNREADABLE),
                    }
                ],
            },
        },
    }


def _found(value: str) -> Resource:
    return {"metadata_namespace": MODEL_NAMESPACE, "key": "model", "value": value}


def _script(name: str, text: str) -> Resource:
    config = {"@type": f"{_HTTP}.lua.v3.Lua", "stat_prefix": name, "default_source_code": {"inline_string": text}}
    return {"name": f"envoy.filters.http.lua.{name}", "typed_config": config}
