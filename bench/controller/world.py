"""A cluster of many replicas in which everything is as the fleet wants it: one replica per card, some cards free."""

import uuid
from dataclasses import replace

from aivailable.model.cards import Card, Node, Vendor
from aivailable.model.fleet import Engine, Fleet, ModelSpec, Resolved, Variant
from aivailable.model.measurement import Conditions, Measurement
from aivailable.model.profile import Profile, WeightsFormat
from aivailable.model.replica import Replica
from aivailable.model.service import Instance
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from aivailable.vram.hardware import image
from bench.placement.worlds import after

PER_MODEL = 100
SPARE = 0.03
"""Cards more than replicas."""
CARDS_PER_NODE = (2, 3, 4)
T4_MIB = 15360
MEASURED = 20
"""Measurements of each model's files."""
GIB = 1024**3

PROFILE = Profile(
    format=WeightsFormat.GGUF,
    architecture="qwen3",
    weights_bytes=8 * GIB,
    input_embedding_bytes=0,
    layers=36,
    hidden_size=4096,
    heads=32,
    kv_heads=8,
    key_size=128,
    value_size=128,
    vocabulary=151936,
    context_limit=40960,
    weights_type="Q8_0",
)
"""An 8B model in eight bits: one fills most of a Tesla T4."""


def world(replicas: int) -> tuple[Fleet, Snapshot]:
    """A fleet and the cluster that serves it, about which a planner has nothing to say.

    Raises:
        ValueError: There is something to do in it.
    """
    each = min(PER_MODEL, replicas)
    fleet = Fleet(models=tuple(_model(number, each) for number in range(replicas // each)), driver="exec")
    empty = Snapshot(nodes=_nodes(round(replicas * (1 + SPARE))))
    filled = after(plan(fleet, empty), empty)
    running = tuple(replace(r, alloc=_uuid("alloc", r.job), engine="llama.cpp") for r in filled.replicas)
    found = Snapshot(nodes=filled.nodes, replicas=running)
    again = plan(fleet, found)
    if again.actions or again.unplaced or len(running) != len(fleet.models) * fleet.models[0].replicas:
        raise ValueError("there is something to do in a world made for nothing to do")
    return fleet, found


def sha256_of(model: ModelSpec) -> str:
    """Of the files of its one variant."""
    resolved = model.variants[0].resolved
    return resolved.sha256 if resolved else ""


def instances(snapshot: Snapshot) -> tuple[Instance, ...]:
    """What a registry knows of the replicas, all of them healthy."""
    return tuple(
        Instance(
            id=f"_nomad-task-{replica.alloc}-group-engine-llm-engine-http",
            service="llm-engine",
            address=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            port=20_000 + number % 12_000,
            passing=True,
            node=replica.node,
            tags=(replica.model,),
            meta={"alloc": replica.alloc, "model": replica.model, "engine": replica.engine, "mesh": "bridge"},
        )
        for number, replica in enumerate(snapshot.replicas)
    )


def measurements(fleet: Fleet, snapshot: Snapshot) -> dict[str, tuple[Measurement, ...]]:
    """What some replicas of each model were seen to hold, by checksum."""
    card = snapshot.nodes[0].cards[0]
    of_model: dict[str, list[Replica]] = {}
    for replica in snapshot.replicas:
        of_model.setdefault(replica.model, []).append(replica)
    return {
        sha256_of(model): tuple(_measurement(model, card, r.alloc) for r in of_model[model.name][:MEASURED])
        for model in fleet.models
    }


def _measurement(model: ModelSpec, card: Card, alloc: str) -> Measurement:
    conditions = Conditions(
        sha256=sha256_of(model),
        engine=Engine.LLAMACPP,
        image=image(Engine.LLAMACPP, card),
        card=card.name,
        total_mib=card.total_mib,
        cards=1,
        simulated=False,
        flags=(),
        context=model.context,
        concurrency=model.concurrency,
    )
    return Measurement(
        conditions=conditions, alloc=alloc, at_s=1.8e9, weights_mib=8192, kv_mib=1200, activation_mib=300
    )


def _model(number: int, replicas: int) -> ModelSpec:
    source = f"hf:org/model-{number}-8b-gguf/model-q8_0.gguf"
    resolved = Resolved(revision=_uuid("revision", source), sha256=f"{number:064x}", profile=PROFILE, path="")
    variant = Variant(source=source, resolved=resolved)
    return ModelSpec(name=f"model-{number}-8b", variants=(variant,), replicas=replicas, context=2048, concurrency=4)


def _nodes(cards: int) -> tuple[Node, ...]:
    nodes: list[Node] = []
    while cards > 0:
        name = f"node-{len(nodes):05d}.rack-{len(nodes) // 20:03d}.example.org"
        count = min(cards, CARDS_PER_NODE[len(nodes) % len(CARDS_PER_NODE)])
        nodes.append(
            Node(
                id=_uuid("node", name),
                name=name,
                rack=f"rack-{len(nodes) // 20:03d}",
                vendor_plugin="aivailable",
                drivers=("docker", "exec", "raw_exec"),
                cards=tuple(_card(name, index) for index in range(count)),
            )
        )
        cards -= count
    return tuple(nodes)


def _card(node: str, index: int) -> Card:
    return Card(
        uuid=f"GPU-{_uuid(node, str(index))}",
        index=index,
        vendor=Vendor.NVIDIA,
        name="Tesla T4",
        total_mib=T4_MIB,
        compute_capability=7.5,
        bandwidth_gb_s=320.0,
        driver_version="580.95.05",
        free_slices=T4_MIB // 512,
    )


def _uuid(*names: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(names)))
