"""Filters that some requests pass by: what a filter costs, only those pay who need it."""

from collections.abc import Sequence

from aivailable.gateway.policies import Resource

SKIPPING_TYPE = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher"


def unless_present(header: str, extension: Resource) -> Resource:
    """The filter, passed by where the request has this header."""
    return _skipping(_is(header, {"safe_regex": {"google_re2": {}, "regex": ".+"}}), extension)


def only_for(header: str, values: Sequence[str], extension: Resource) -> Resource:
    """The filter, passed by unless the header has one of these values."""
    if not values:
        return _skipping(_is(":method", {"safe_regex": {"google_re2": {}, "regex": ".+"}}), extension)
    each = [_is(header, {"exact": value}) for value in values]
    return _skipping({"not_matcher": each[0] if len(each) == 1 else {"or_matcher": {"predicate": each}}}, extension)


def _is(header: str, value: Resource) -> Resource:
    config = {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": header}
    return {"single_predicate": {"input": {"name": "header", "typed_config": config}, "value_match": value}}


def _skipping(predicate: Resource, extension: Resource) -> Resource:
    skip = {
        "name": "skip",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"},
    }
    return {
        "@type": SKIPPING_TYPE,
        "extension_config": extension,
        "xds_matcher": {"matcher_list": {"matchers": [{"predicate": predicate, "on_match": {"action": skip}}]}},
    }
