"""The Nomad job of Open WebUI, pages to chat with the endpoint's models: an add-on of `aivailable up`."""

import shlex
from collections.abc import Mapping

from aivailable.model.service import GATEWAY_SERVICE, KEYS_PATH, OPEN_WEBUI_JOB, OPEN_WEBUI_SERVICE
from aivailable.rendering.jobs import RenderedJob, templates
from aivailable.rendering.quoting import duration
from aivailable.settings import Settings

OPEN_WEBUI_VOLUME = OPEN_WEBUI_JOB
"""The Nomad host volume with its data; there is one, so the job runs on the node that has it."""

OPEN_WEBUI_KEY = "open-webui"
"""The id of its API key."""

OPEN_WEBUI_VARIABLE = f"nomad/jobs/{OPEN_WEBUI_JOB}"
"""The Nomad variable that this job alone may read without a policy (Nomad gives each job its own path)."""

CONTAINER_DATA = "/app/backend/data"
"""Where the image keeps its data (Open WebUI 0.12.4)."""

DNS_PORT = 8600
"""Of Consul's agent on every node (its default, and what `deploy/node.sh` leaves)."""

SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
"""The system's authorities on Debian and Ubuntu; on others AIVAILABLE_TLS_CA names them."""

MEMORY_MIB = 2048
"""Host memory: 400 MiB RSS with two users and no documents (0.12.4); documents and images come on top."""

ENVIRONMENT: Mapping[str, str] = {
    # The endpoint and nothing else: no downloads, no reports, no other service is asked.
    "ENABLE_OLLAMA_API": "false",
    "OFFLINE_MODE": "true",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    # The environment decides at each start, so that a rotated key is used; else the first start's would stay.
    "ENABLE_PERSISTENT_CONFIG": "false",
    # The first who comes is the admin and adds the others; who is in sees every model of the key.
    "ENABLE_SIGNUP": "false",
    "BYPASS_MODEL_ACCESS_CONTROL": "true",
    # A document goes into the question whole; an embedding model would be another model on the cards.
    "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
    "RAG_EMBEDDING_ENGINE": "openai",
    # Each would be one more request to the engine after every answer.
    "ENABLE_FOLLOW_UP_GENERATION": "false",
    "ENABLE_TAGS_GENERATION": "false",
}
"""What Open WebUI 0.12.4 is told, by the names in its env.py and config.py."""


def render_open_webui(settings: Settings, *, data: str) -> RenderedJob:
    """The job of Open WebUI in a container, or by the settings' command.

    Args:
        settings: Its image or command and port; the gateway's port and certificate.
        data: Where the volume lies on its node: what runs without a container sees it there.
    """
    command = shlex.split(settings.open_webui_command)
    tls = settings.gateway_scheme == "https"
    values = {
        "volume": OPEN_WEBUI_VOLUME,
        "service": OPEN_WEBUI_SERVICE,
        "http_port": settings.open_webui_port,
        "check_interval": duration(settings.check_interval_s),
        "envoy": shlex.split(settings.envoy_command),
        "dns_port": DNS_PORT,
        "gateway_name": f"{GATEWAY_SERVICE}.service.consul",
        "gateway_port": settings.gateway_port,
        "tls": tls,
        "ca": "" if not tls or settings.tls_self_signed else str(settings.tls_ca or SYSTEM_CA),
        "driver": "raw_exec" if command else "docker",
        "command": command,
        "image": settings.open_webui_image,
        "data": data if command else CONTAINER_DATA,
        "environment": ENVIRONMENT,
        "key_variable": f"{KEYS_PATH}/{OPEN_WEBUI_KEY}",
        "own_variable": OPEN_WEBUI_VARIABLE,
        "memory_mib": MEMORY_MIB,
    }
    return RenderedJob(id=OPEN_WEBUI_JOB, text=templates().get_template("open-webui.nomad.hcl.j2").render(values))
