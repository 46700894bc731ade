"""The configuration of Prometheus as the job gives it, and the same with targets that are told instead of asked for."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from aivailable.rendering import render_prometheus
from aivailable.settings import Settings
from tests.rendering.test_jobs import parsed

CONSUL = "http://127.0.0.1:8500"
Target = tuple[str, Mapping[str, str]]
"""An address, and what Consul says of the service there."""


def configuration(settings: Settings, gateway: str) -> dict[str, Any]:
    """What the rendered job holds, with what Nomad would fill in."""
    (group,) = parsed(render_prometheus(settings).text)["group"][0].values()
    (task,) = group["task"][0].values()
    (text,) = [file["data"] for file in task["template"] if file["destination"] == "local/prometheus.yml"]
    text = text.replace('[[ env "CONSUL_HTTP_ADDR" ]]', CONSUL)
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\[\[ with service .* \]\]", gateway, text))
    return found


def with_static_targets(made: Mapping[str, Any], services: Mapping[str, Sequence[Target]]) -> dict[str, Any]:
    """The configuration with the instances of services written down, in the labels that Prometheus gives Consul's."""
    scrapes = []
    for scrape in made["scrape_configs"]:
        asked = [name for source in scrape["consul_sd_configs"] for name in source["services"]]
        found = [
            {"targets": [address], "labels": {"__meta_consul_service": name, **labels}}
            for name in asked
            for address, labels in services.get(name, ())
        ]
        scrapes.append({**{k: v for k, v in scrape.items() if k != "consul_sd_configs"}, "static_configs": found})
    return {**made, "scrape_configs": scrapes}
