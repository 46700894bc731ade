"""One example fleet and every document the gateway makes of it."""

import json
from collections.abc import Mapping

from aivailable.gateway.bootstrap import bootstrap
from aivailable.gateway.mesh import Mesh
from aivailable.gateway.policies import Policies
from aivailable.gateway.publishing import File, Inputs, files
from aivailable.model.service import ENGINE_SERVICE, ApiKey, Instance
from aivailable.seams import Identity
from aivailable.settings import Settings, shipped
from tests.samples import fleet, model

SETTINGS = Settings()
POLICIES = Policies.read(shipped("envoy"))
FLEET = fleet(model("qwen3-8b"), model("org/Tiny.1"))
KEYS = (ApiKey(id="alice", secret="sk-alice"), ApiKey(id="bob", secret="sk-bob", models=("org/Tiny.1",)))


MESH = Mesh(
    identity=Identity(
        certificate="leaf\nintermediate\n", key="key\n", uri="spiffe://id.consul/ns/default/dc/dc1/svc/llm"
    ),
    roots="root\nformer root\n",
)


def instance(model_name: str, port: int, *, passing: bool = True, mesh: str = "none") -> Instance:
    return Instance(
        id=f"i{port}",
        service=ENGINE_SERVICE,
        address="10.0.0.1",
        port=port,
        passing=passing,
        meta={"model": model_name, "mesh": mesh},
    )


INSTANCES = (
    *(instance("qwen3-8b", 2), instance("qwen3-8b", 1), instance("qwen3-8b", 3, passing=False)),
    instance("qwen3-8b", 4, mesh="bridge"),
)


def published() -> list[File]:
    return files(Inputs(fleet=FLEET, keys=KEYS, instances=INSTANCES, mesh=MESH), SETTINGS, POLICIES)


def documents() -> Mapping[str, str]:
    made = {file.name: {"resources": file.resources} for file in published()}
    made["bootstrap.json"] = bootstrap(SETTINGS, POLICIES, http_port=8080, probe_port=8081)
    return {name: json.dumps(document, indent=2) + "\n" for name, document in made.items()}
