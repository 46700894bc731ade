"""RDS: from path and model to a cluster, and every answer that needs no engine.

Envoy chooses a route twice: before it has read the body (the body limit comes from that one, hence `_unread`) and again
when the header `x-model` is there. A POST that names a model of the fleet finds that model's routes by one look into a
table; all others go through the list that answers. In a list the order matters, the first match wins.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

from aivailable.gateway.clusters import NOWHERE, cluster_name
from aivailable.gateway.keys import CLIENT_HEADER
from aivailable.gateway.paths import audio, groups, serves_all, vllm_only
from aivailable.gateway.policies import (
    MODEL_HEADER,
    MODEL_MISSING,
    MODEL_NAMESPACE,
    MODEL_UNREADABLE,
    Policies,
    Resource,
)
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.service import ApiKey
from aivailable.settings import Settings

ROUTES_FILE = "routes.json"
ROUTES_NAME = "models"
USED_UP = 428
"""Status of the route that refuses a key without tokens; `envoy/local_replies.json` makes it 429 with its own words."""

OTHER = "_other"
"""Route name of everything that is not a known model: names that clients invent must not become statistics."""

IDLE_MARGIN_S = 30
"""A stream is given up after all its tries have been."""

MIB = 1024 * 1024
AUDIO_LIMIT_MIB = 25
"""OpenAI's own limit for a file to transcribe; with `x-model` bodies are not held back and may be of any size."""
DIRECT_RESPONSE_BYTES_MAX = MIB
"""Envoy's own limit of 4 KiB is too small for a list of many models."""

_ANSWER_HEADERS = [
    {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    for name, value in (("content-type", "application/json"), ("access-control-allow-origin", "*"))
]
"""The CORS filter leaves direct responses alone. Keys travel in a header of their own, so any origin may read."""


def route_configuration(
    fleet: Fleet,
    keys: tuple[ApiKey, ...],
    settings: Settings,
    policies: Policies,
    *,
    over_budget: Mapping[str, int] = MappingProxyType({}),
) -> Resource:
    """The one route configuration of the gateway.

    Args:
        fleet: Its models.
        keys: All keys, for their rights.
        settings: The body limit.
        policies: What is the same for every fleet.
        over_budget: Keys that have used up their tokens, and after how many seconds they may ask again.
    """
    refused = [_used_up(key, after_s) for key, after_s in sorted(over_budget.items())]
    known = {model.name: [*refused, *_model_routes(model, keys, policies)] for model in fleet.models}
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES_NAME,
        "max_direct_response_body_size_bytes": DIRECT_RESPONSE_BYTES_MAX,
        "virtual_hosts": [
            {
                "name": "models",
                "domains": ["*"],
                "request_body_buffer_limit": settings.body_limit_mib * MIB,
                "typed_per_filter_config": {"envoy.filters.http.cors": policies.cors},
                **_by_model(known, [_preflight(), *refused, *_answers(fleet, keys)]),
            }
        ],
    }


def _by_model(known: Mapping[str, list[Resource]], others: list[Resource]) -> Resource:
    """The table: method, then model, then a list. Envoy takes no empty table."""
    if not known:
        return {"routes": others}
    rest = {"action": _list(others)}
    models = {name: {"action": _list(routes)} for name, routes in known.items()}
    post = {"matcher": {"matcher_tree": _table(MODEL_HEADER, models), "on_no_match": rest}}
    return {"matcher": {"matcher_tree": _table(":method", {"POST": post}), "on_no_match": rest}}


def _table(header: str, found: Resource) -> Resource:
    config = {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": header}
    return {"input": {"name": "header", "typed_config": config}, "exact_match_map": {"map": found}}


def _list(routes: list[Resource]) -> Resource:
    config = {"@type": "type.googleapis.com/envoy.config.route.v3.RouteList", "routes": routes}
    return {"name": "routes", "typed_config": config}


def _model_routes(model: ModelSpec, keys: tuple[ApiKey, ...], policies: Policies) -> list[Resource]:
    """What a POST that names this model may mean."""
    error = _error(f"The engine of the model `{model.name}` does not serve this URL.", code="unknown_url")
    return [
        *([] if serves_all(model) else [_answer(vllm_only(), 404, error)]),
        *(_to_model(at, model, keys, policies) for at in (*groups(), audio())),
        _unknown_url(),
    ]


def _answers(fleet: Fleet, keys: tuple[ApiKey, ...]) -> list[Resource]:
    """Everything else: lists of models, and what is wrong with a request that names no model of the fleet."""
    routes = _model_lists(fleet, keys)
    for at in groups():
        routes += _path_answers(at, "application/json")
    routes += _path_answers(audio(), "multipart/form-data", limit_mib=AUDIO_LIMIT_MIB)
    return [*routes, _unknown_url()]


def _used_up(key_id: str, after_s: int) -> Resource:
    """Refuses a key that has used up its tokens; it may still list models."""
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    client = {"name": CLIENT_HEADER, "string_match": {"exact": key_id}}
    route = _answer({"prefix": "/v1/", "headers": [post, client]}, USED_UP, {})
    retry = {"header": {"key": "retry-after", "value": str(after_s)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {**route, "response_headers_to_add": [*_ANSWER_HEADERS, retry]}


def _path_answers(at: Resource, content_type: str, *, limit_mib: int | None = None) -> list[Resource]:
    no_model = _error("you must provide a model parameter", param="model")
    unreadable = _error(f"the body is not valid, or its content-type is not {content_type}", param="model")
    not_post = {"name": ":method", "string_match": {"exact": "POST"}, "invert_match": True}
    return [
        _answer({**at, "headers": [not_post]}, 405, _error("Use POST.", code="method_not_allowed")),
        _answer({**at, "headers": [_model_is(MODEL_MISSING)]}, 400, no_model),
        _answer({**at, "headers": [_model_is(MODEL_UNREADABLE)]}, 400, unreadable),
        *_unknown_model(at),
        _unread(at, content_type, limit_mib),
        _answer(at, 400, no_model),
    ]


def _unknown_url() -> Resource:
    return _answer({"prefix": "/"}, 404, _error("Unknown request URL.", code="unknown_url"))


def _model_is(name: str) -> Resource:
    return {"name": MODEL_HEADER, "string_match": {"exact": name}}


def _to_model(at: Resource, model: ModelSpec, keys: tuple[ApiKey, ...], policies: Policies) -> Resource:
    tries_s = (policies.retry["num_retries"] + 1) * model.idle_timeout_s
    route: Resource = {
        "name": model.name,
        "match": at,
        "route": {
            "cluster": cluster_name(model.name),
            "timeout": "0s",
            "idle_timeout": f"{tries_s + IDLE_MARGIN_S}s",
            "retry_policy": {**policies.retry, "per_try_idle_timeout": f"{model.idle_timeout_s}s"},
        },
    }
    return _with_rights(route, model.name, keys)


def _with_rights(route: Resource, model: str, keys: tuple[ApiKey, ...]) -> Resource:
    """The route, closed to keys that may not use the model; untouched where every key may."""
    allowed = [key.id for key in keys if key.may_use(model)]
    if len(allowed) < len(keys):
        route["typed_per_filter_config"] = {"envoy.filters.http.rbac": _only(allowed)}
    return route


def _only(clients: list[str]) -> Resource:
    """Lets these clients pass and answers 403 to all others. A policy needs a principal; no client is named ``""``."""
    principals = [{"header": {"name": CLIENT_HEADER, "string_match": {"exact": client}}} for client in clients or [""]]
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        "rbac": {
            "rules": {
                "action": "ALLOW",
                "policies": {"allowed": {"permissions": [{"any": True}], "principals": principals}},
            }
        },
    }


def _unknown_model(at: Resource) -> list[Resource]:
    """By its name as the JSON parser read it, where that one did; the header may hold it percent-encoded."""
    parsed = {"filter": MODEL_NAMESPACE, "path": [{"key": "model"}], "value": {"present_match": True}}
    named = {"name": MODEL_HEADER, "present_match": True}
    return [
        _unknown({**at, "dynamic_metadata": [parsed]}, f"%DYNAMIC_METADATA({MODEL_NAMESPACE}:model)%"),
        _unknown({**at, "headers": [named]}, f"%REQ({MODEL_HEADER})%"),
    ]


def _unknown(match: Resource, name: str) -> Resource:
    message = f"The model `{name}` does not exist or you do not have access to it."
    return {
        "name": OTHER,
        "response_headers_to_add": _ANSWER_HEADERS,
        "match": match,
        "direct_response": {
            "status": 404,
            "body_format": {
                "content_type": "application/json",
                "json_format": _error(message, param="model", code="model_not_found"),
            },
        },
    }


def _unread(at: Resource, content_type: str, limit_mib: int | None) -> Resource:
    """The route before the body is read; its cluster has no endpoints, so that nothing can pass by it."""
    has_body = {
        "name": "content-length",
        "string_match": {"exact": "0"},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }
    readable = {"name": "content-type", "string_match": {"prefix": content_type, "ignore_case": True}}
    route = {
        "name": OTHER,
        "match": {**at, "headers": [readable, has_body]},
        "route": {"cluster": NOWHERE, "timeout": "0s"},
    }
    return {**route, "request_body_buffer_limit": limit_mib * MIB} if limit_mib else route


def _preflight() -> Resource:
    """Envoy's CORS filter answers preflights, but only where the route has a cluster."""
    options = {"name": ":method", "string_match": {"exact": "OPTIONS"}}
    asks = {"name": "access-control-request-method", "present_match": True}
    return {
        "name": OTHER,
        "match": {"prefix": "/", "headers": [options, asks]},
        "route": {"cluster": NOWHERE},
    }


def _model_lists(fleet: Fleet, keys: tuple[ApiKey, ...]) -> list[Resource]:
    """GET /v1/models and /v1/models/NAME, from the fleet: each key sees what it may use."""
    routes = [
        _model_list([m.name for m in fleet.models if key.may_use(m.name)], client=key.id) for key in keys if key.models
    ]
    routes.append(_model_list([m.name for m in fleet.models]))
    for model in fleet.models:
        route = _answer(_get(f"/v1/models/{model.name}"), 200, _entry(model.name))
        routes.append(_with_rights(route, model.name, keys))
    unknown = _error("The model does not exist.", param="model", code="model_not_found")
    return [*routes, _answer({"prefix": "/v1/models/"}, 404, unknown)]


def _model_list(names: list[str], *, client: str | None = None) -> Resource:
    match = _get("/v1/models")
    if client is not None:
        match["headers"].append({"name": CLIENT_HEADER, "string_match": {"exact": client}})
    return _answer(match, 200, {"object": "list", "data": [_entry(name) for name in names]})


def _entry(name: str) -> Resource:
    return {"id": name, "object": "model", "created": 0, "owned_by": "aivailable"}


def _get(path: str) -> Resource:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}


def _answer(match: Resource, status: int, body: Resource) -> Resource:
    return {
        "name": OTHER,
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": json.dumps(body)}},
        "response_headers_to_add": _ANSWER_HEADERS,
    }


def _error(message: str, *, param: str | None = None, code: str | None = None) -> Resource:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
