"""One Nomad job per replica, from one placement."""

import posixpath
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aivailable.errors import UserError
from aivailable.model.cards import Vendor
from aivailable.model.fleet import Engine
from aivailable.model.names import slug
from aivailable.model.plan import Placement
from aivailable.model.replica import ReplicaSpec
from aivailable.model.service import ENGINE_SERVICE, GATEWAY_SERVICE
from aivailable.model.source import FETCHED, SourceKind, fetched_name, parse_source
from aivailable.rendering.quoting import duration, hcl_heredoc, hcl_string
from aivailable.settings import Settings, shipped

ENGINE_PORT = "8000"
"""Of an engine in a network of its own."""

CONTAINER_MODEL_DIR = "/models"
"""Where a container sees the node's model directory, the host volume `aivailable-models`."""

HOST_MEMORY_MIB = {Engine.LLAMACPP: 1024, Engine.VLLM: 6144}
"""Host memory a task reserves. llama.cpp: 200 MiB RSS with a 135M model, more with the prompt cache. vLLM: 3.7 GB PSS
over its three processes without KV cache in host memory, peaks higher while it loads."""


VISIBLE_VARIABLE = "AIVAILABLE_VISIBLE_"
"""Before a card's index: its entry in the visible-devices variable, set by the device plugin."""

VISIBLE_DEVICES = {
    Vendor.NVIDIA: ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    Vendor.AMD: ("ROCR_VISIBLE_DEVICES",),
}
"""What names the cards that a task sees, by vendor."""

META = {
    "model": "the model's name, as clients send it",
    "variant": "the source of the variant that it runs",
    "engine": "the program: `vllm` or `llamacpp`",
    "replica": "its number",
    "vendor": "whose cards it asks for: `nvidia` or `amd`",
    "claim_mib": "what is booked in MiB, one number per card, joined by commas",
    "context": "tokens one request may use",
    "concurrency": "requests at full context that it holds in VRAM",
    "simulated": "`true` where the card comes from a file and the engine runs on the CPU",
    "replaces": "the job that stops when this one serves; only where it was started to move that one",
}
"""Every key of a job's meta, and what it says."""


@dataclass(frozen=True, slots=True)
class RenderedJob:
    """A job as Nomad takes it."""

    id: str
    text: str


def render(placement: Placement, settings: Settings) -> RenderedJob:
    """The Nomad job that runs this replica: hard constraints for what must hold, affinities for what the plan prefers.

    Raises:
        UserError: A string may not reach a job, the model file has no path, or no sidecar runs in that mesh.
    """
    template = templates().get_template(f"{placement.spec.engine}.nomad.hcl.j2")
    return RenderedJob(id=placement.job_id, text=template.render(_values(placement, settings)))


def templates() -> Environment:
    """The templates in `jobs/`: strict, and with the filter through which every inserted text goes."""
    # Autoescape is for HTML; here every inserted value goes through the filter `hcl`, and a test holds them to it.
    environment = Environment(
        loader=FileSystemLoader(shipped("jobs")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - see above
    )
    environment.filters["hcl"] = hcl_string
    environment.filters["heredoc"] = hcl_heredoc
    return environment


def _values(placement: Placement, settings: Settings) -> dict[str, object]:
    spec = placement.spec
    volume = _volume(spec.driver, settings)
    in_container = spec.driver == "docker"
    return {
        "id": placement.job_id,
        "description": _description(placement),
        **_listening(spec, settings),
        "endpoint": f"{settings.gateway_scheme}://{GATEWAY_SERVICE}.service.consul:{settings.gateway_port}/v1/models",
        "priority": placement.priority,
        "slug": slug(spec.model),
        "service": ENGINE_SERVICE,
        "meta": _meta(placement),
        "node_id": placement.node_id,
        "driver": spec.driver,
        "command": [] if in_container else _command(spec, settings),
        "image": placement.image,
        "model": spec.model,
        "fetch": _fetch(placement, settings),
        "hub_variable": settings.hub_variable,
        "hub_endpoint": settings.hub_endpoint,
        "model_path": _seen_at(placement, settings, volume),
        "volume": volume,
        "flags": placement.flags,
        "devices": _devices(placement),
        "visible": _visible(placement),
        "memory_mib": HOST_MEMORY_MIB[spec.engine],
        "check_interval": duration(settings.check_interval_s),
        "shutdown_delay": duration(settings.shutdown_delay_s),
        "kill_timeout": duration(settings.kill_timeout_s),
        "restart_delay": duration(settings.restart_delay_s),
    }


def _listening(spec: ReplicaSpec, settings: Settings) -> dict[str, object]:
    """Where the engine listens, and what stands in front of it there: the mesh's proxy, or nothing.

    Raises:
        UserError: Envoy sidecars need a network of their own.
    """
    sidecar = settings.sidecar if spec.mesh != "none" else ""
    if sidecar == "envoy" and spec.mesh == "host":
        raise UserError(
            f'model {spec.model}: Nomad runs Envoy sidecars with mesh = "bridge" only',
            hint='set [cluster] mesh = "bridge", or AIVAILABLE_SIDECAR=consul and `aivailable up` again',
        )
    host, port = {
        "bridge": ("127.0.0.1", ENGINE_PORT),
        "host": ("127.0.0.1", "${NOMAD_PORT_http}"),
        "none": ("${NOMAD_IP_http}", "${NOMAD_PORT_http}"),
    }[spec.mesh]
    return {
        "mesh": spec.mesh,
        "sidecar": sidecar,
        "engine_port": ENGINE_PORT,
        "host": host,
        "port": port,
        "listen": f"{host}:{port}",
        "proxy_host": "0.0.0.0" if spec.mesh == "bridge" else "${NOMAD_IP_mesh}",  # noqa: S104 - of its own network
        "service_port": {"consul": "mesh", "envoy": ENGINE_PORT, "": "http"}[sidecar],
    }


def _description(placement: Placement) -> str:
    simulated = " (simulated)" if placement.spec.simulated else ""
    return f"{placement.spec.model}, replica {placement.replica}, {placement.spec.engine.value}{simulated}"


def _meta(placement: Placement) -> Mapping[str, str]:
    """Only what never changes for a replica: a changed job meta would restart the engine."""
    spec = placement.spec
    meta = {
        "model": spec.model,
        "variant": spec.variant.source,
        "engine": spec.engine.value,
        "replica": str(placement.replica),
        "vendor": placement.requirement.vendor,
        "claim_mib": ",".join(str(mib) for mib in placement.claim_mib),
        "context": str(spec.context),
        "concurrency": str(spec.concurrency),
        "simulated": "true" if spec.simulated else "false",
    }
    return {**meta, "replaces": placement.replaces} if placement.replaces else meta


def _devices(placement: Placement) -> list[dict[str, object]]:
    needs = placement.requirement
    if needs.device_type == "gpu":
        return [
            {
                "name": f"{needs.vendor}/gpu/{needs.model}",
                "count": 1,
                "affinity": ("${device.ids}", "set_contains_any", uuid),
                "constraints": [("${device.attr.memory}", ">=", f"{needs.memory_mib} MiB")],
            }
            for uuid in placement.cards
        ]
    constraints = [
        ("${device.attr.slice_mib}", "=", str(needs.slice_mib)),
        ("${device.attr.memory}", ">=", f"{needs.memory_mib} MiB"),
    ]
    if needs.compute_capability_min is not None:
        constraints.append(("${device.attr.compute_capability}", ">=", str(needs.compute_capability_min)))
    if needs.gfx:
        constraints.append(("${device.attr.gfx}", "set_contains_any", ",".join(needs.gfx)))
    return [
        {
            "name": f"{needs.vendor}/vram",
            "count": slices,
            "affinity": ("${device.attr.uuid}", "=", uuid),
            "constraints": [*constraints, *told_apart],
        }
        for uuid, slices, told_apart in zip(placement.cards, placement.slices, _told_apart(placement), strict=True)
    ]


def _told_apart(placement: Placement) -> list[list[tuple[str, str, str]]]:
    """What keeps the device blocks of one task on different cards: each has its own card number, on whatever node."""
    if len(placement.cards) == 1:
        return [[]]
    return [[("${device.attr.index}", "=", str(index))] for index in placement.indexes]


def _visible(placement: Placement) -> list[tuple[str, list[str]]]:
    """The visible-devices variables of a task with several cards, each with the variables its entries come from."""
    if len(placement.cards) == 1:
        return []
    names = VISIBLE_DEVICES[Vendor(placement.requirement.vendor)]
    return [(name, [f"{VISIBLE_VARIABLE}{index}" for index in placement.indexes]) for name in names]


def _command(spec: ReplicaSpec, settings: Settings) -> list[str]:
    if spec.engine is Engine.VLLM:
        python = settings.vllm_cpu_python if spec.simulated else None
        ours = [sys.executable, "-m", "aivailable.engines.vllm_cpu", "--python", str(python)]
        return ours if python else shlex.split(settings.vllm_command)
    return shlex.split(settings.llamacpp_command) or [sys.executable, "-m", "aivailable.engines.llamacpp"]


def _volume(driver: str, settings: Settings) -> str:
    """Where the task sees the node's model directory, for drivers that isolate their file system; else empty."""
    return {"docker": CONTAINER_MODEL_DIR, "exec": str(settings.models_folder)}.get(driver, "")


def _seen_at(placement: Placement, settings: Settings, volume: str) -> str:
    """The model's path as the engine sees it.

    Raises:
        UserError: The engine cannot see it.
    """
    path = _model_path(placement, settings)
    if not volume:
        return path
    below = posixpath.relpath(path, settings.models_folder)
    if below.startswith(".."):
        raise UserError(
            f"model {placement.spec.model}: {path} is not below the nodes' model directory {settings.models_folder}",
            hint=f'the driver {placement.spec.driver} sees that directory only; use node:PATH, or driver = "raw_exec"',
        )
    return posixpath.join(volume, below)


def _model_path(placement: Placement, settings: Settings) -> str:
    """Where the model lies on the node when the engine starts."""
    variant = placement.spec.variant
    source, resolved = parse_source(variant.source), variant.resolved
    if source.kind is SourceKind.NODE:
        return str(settings.models_folder / source.location)
    if resolved and resolved.path:
        return resolved.path
    if resolved and resolved.sha256 and source.kind in FETCHED:
        folder = settings.models_folder / resolved.sha256
        name = fetched_name(source)
        return str(folder / name) if name else str(folder)
    raise UserError(
        f"model {placement.spec.model}: where {variant.source} lies on the nodes is not known",
        hint="use a node: source, or a local file on a simulated rack",
    )


def _fetch(placement: Placement, settings: Settings) -> list[str]:
    """The command that brings the model to the node before the engine starts; empty where it is there already."""
    variant, resolved = placement.spec.variant, placement.spec.variant.resolved
    source = parse_source(variant.source)
    if resolved is None or resolved.path or source.kind not in FETCHED:
        return []
    pinned = variant.source
    if source.kind is SourceKind.HUB:
        pinned = f"hf:{source.location}@{resolved.revision}" + (f":{source.file}" if source.file else "")
    into = str(settings.models_folder)
    command = shlex.split(settings.fetch_command) or [
        sys.executable,
        "-m",
        "aivailable",
        "--cluster",
        "embedded",
        "fetch",
    ]
    return [*command, pinned, "--into", into, "--sha256", resolved.sha256]
