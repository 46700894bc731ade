"""Two example placements and the jobs rendered from them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aivailable.model.fleet import Engine, Resolved, Variant
from aivailable.model.footprint import Footprint
from aivailable.model.plan import Placement, Requirement
from aivailable.model.replica import ReplicaSpec
from aivailable.rendering import (
    RenderedJob,
    render,
    render_controller,
    render_gateway,
    render_open_webui,
    render_prometheus,
)
from aivailable.settings import Settings
from tests.samples import EIGHT_B, SMALL, variant

SETTINGS = Settings(
    llamacpp_command="python3 -m aivailable.engines.llamacpp",
    fetch_command="python3 -m aivailable fetch",
    models=Path("/srv/models"),
)
FOOTPRINT = Footprint(weights_mib=1, kv_mib=1, activation_mib=1, graphs_mib=0, context_mib=1, margin_mib=1)


def llamacpp(**facts: Any) -> Placement:
    spec = ReplicaSpec(
        model="SmolLM2-135M",
        variant=variant(SMALL, "/models/m.gguf"),
        engine=Engine.LLAMACPP,
        context=2048,
        concurrency=4,
        driver="raw_exec",
        mesh="none",
        simulated=True,
    )
    placement = Placement(
        spec=spec,
        replica=0,
        node="node1",
        node_id="id-node1",
        cards=("GPU-node1-0",),
        slices=(2,),
        claim_mib=(1024,),
        footprint=FOOTPRINT,
        requirement=Requirement(vendor="nvidia", memory_mib=1024, slice_mib=512, compute_capability_min=5.0),
        flags=("-c", "8192", "-np", "4", "--simulated"),
    )
    return replace(placement, **facts)


def vllm() -> Placement:
    spec = ReplicaSpec(
        model="qwen3-8b",
        variant=variant(EIGHT_B, "/srv/models/Qwen3-8B"),
        engine=Engine.VLLM,
        context=8192,
        concurrency=8,
        driver="docker",
        mesh="none",
    )
    return Placement(
        spec=spec,
        replica=1,
        node="node7",
        node_id="id-node7",
        cards=("GPU-7",),
        slices=(40,),
        claim_mib=(20480,),
        footprint=FOOTPRINT,
        requirement=Requirement(vendor="amd", memory_mib=20480, slice_mib=512, gfx=("gfx90a", "gfx942")),
        flags=("--max-model-len", "8192"),
        image="vllm/vllm-openai-rocm:v0.32.0",
        priority=70,
    )


def two_cards() -> Placement:
    """Tensor parallel over two cards of one node, started to move a replica that runs."""
    return replace(
        vllm(),
        cards=("GPU-7", "GPU-8"),
        indexes=(0, 1),
        slices=(40, 40),
        claim_mib=(20480, 20480),
        requirement=Requirement(vendor="nvidia", memory_mib=20480, slice_mib=512, compute_capability_min=7.5),
        flags=("--max-model-len", "8192", "--tensor-parallel-size", "2"),
        image="vllm/vllm-openai:v0.32.0",
        replaces="llm-qwen3-8b-0-01234567",
    )


def from_hub() -> Placement:
    """A pinned GGUF of a repository: the job brings it before the engine starts."""
    resolved = Resolved(revision="a" * 40, sha256="b" * 64, profile=SMALL)
    pinned = Variant(source="hf:org/name:m.gguf", resolved=resolved)
    return llamacpp(spec=replace(llamacpp().spec, variant=pinned))


def meshed(mesh: str) -> Placement:
    """A pinned file, an engine in the mesh."""
    return replace(from_hub(), spec=replace(from_hub().spec, mesh=mesh))


def documents() -> Mapping[str, str]:
    placements = {
        "llamacpp": llamacpp(),
        "llamacpp-from-hub": from_hub(),
        "vllm": vllm(),
        "vllm-on-two-cards": two_cards(),
    }
    placements |= {f"mesh-{mesh}": meshed(mesh) for mesh in ("bridge", "host")}
    made = {name: render(placement, SETTINGS) for name, placement in placements.items()}
    in_a_container = replace(vllm(), spec=replace(vllm().spec, mesh="bridge"))
    made["mesh-envoy"] = render(in_a_container, SETTINGS.model_copy(update={"sidecar": "envoy"}))
    made["open-webui"] = render_open_webui(SETTINGS, data="/volumes/1")
    by_command = {
        "open_webui_command": "sh -c 'exec open-webui serve'",
        "tls_certificate": Path("/a"),
        "tls_key": Path("/b"),
    }
    made["open-webui-by-command-tls"] = render_open_webui(SETTINGS.model_copy(update=by_command), data="/volumes/1")
    return {f"{name}.nomad.hcl": job.text for name, job in {**made, **_own()}.items()}


def _own() -> Mapping[str, RenderedJob]:
    """Jobs that are no engines."""
    command = {"prometheus_command": "/opt/prometheus/prometheus --log.level=warn", "alertmanager": "alerts.lab:9093"}
    return {
        "controller-with-https": render_controller(SETTINGS.model_copy(update={"tls_self_signed": True}), copies=2),
        "gateway": render_gateway(SETTINGS, copies=2),
        "prometheus": render_prometheus(SETTINGS),
        "prometheus-on-a-node": render_prometheus(SETTINGS.model_copy(update=command)),
    }
