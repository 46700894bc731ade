"""One example fleet and every document the gateway makes of it."""

import json
from collections.abc import Mapping

from aivailable.gateway.bootstrap import bootstrap
from aivailable.gateway.policies import Policies
from aivailable.gateway.publishing import File, files
from aivailable.model.service import ENGINE_SERVICE, ApiKey, Instance
from aivailable.settings import Settings, shipped
from tests.samples import fleet, model

SETTINGS = Settings()
POLICIES = Policies.read(shipped("envoy"))
FLEET = fleet(model("qwen3-8b"), model("org/Tiny.1"))
KEYS = (ApiKey(id="alice", secret="sk-alice"), ApiKey(id="bob", secret="sk-bob", models=("org/Tiny.1",)))


def instance(model_name: str, port: int, *, passing: bool = True) -> Instance:
    return Instance(
        id=f"i{port}",
        service=ENGINE_SERVICE,
        address="10.0.0.1",
        port=port,
        passing=passing,
        meta={"model": model_name},
    )


INSTANCES = (instance("qwen3-8b", 2), instance("qwen3-8b", 1), instance("qwen3-8b", 3, passing=False))


def published() -> list[File]:
    return files(FLEET, KEYS, INSTANCES, SETTINGS, POLICIES)


def documents() -> Mapping[str, str]:
    made = {file.name: {"resources": file.resources} for file in published()}
    made["bootstrap.json"] = bootstrap(SETTINGS, POLICIES, http_port=8080, probe_port=8081)
    return {name: json.dumps(document, indent=2) + "\n" for name, document in made.items()}
