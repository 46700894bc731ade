"""One frozen, documented settings object: the only place that reads the environment.

Each field `name` is set by the variable `AIVAILABLE_NAME`. An unknown `AIVAILABLE_*` variable or a bad value is an
error, never a default.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aivailable.errors import UserError

PREFIX = "AIVAILABLE_"
SET_BY_OTHERS = frozenset({"AIVAILABLE_CARD", "AIVAILABLE_VRAM_MIB", "AIVAILABLE_SIMULATED"})
"""Variables that Reserve gives to engine tasks; they are not settings."""


class Settings(BaseModel):
    """Everything that can differ between two installations and is no part of the fleet."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    state: Path = Field(default_factory=lambda: Path.home() / ".local" / "state" / "aivailable")
    """Directory of the embedded cluster: its files, logs and lock."""

    models: Path | None = None
    """Directory of a node for model files that jobs bring; default: `models` in `state`."""

    hub_endpoint: str = ""
    """Address of the model hub that `hf:` sources name; empty: the one of the library huggingface_hub. A mirror that
    speaks its protocol will do."""

    gateway_address: str = "127.0.0.1"
    """Address the gateway listens on."""

    gateway_port: int = Field(default=8080, ge=0, le=65535)
    """Port for HTTP clients; 0 takes a free one."""

    probe_port: int = Field(default=8081, ge=0, le=65535)
    """Port for probes (`/ready`), which need no key; 0 takes a free one."""

    body_limit_mib: int = Field(default=8, ge=1, le=256)
    """Largest request body in MiB; a larger one is answered 413."""

    tick_s: float = Field(default=5.0, gt=0)
    """How often the controller looks at everything although nothing was announced, in seconds."""

    check_interval_s: float = Field(default=1.0, gt=0)
    """Time between two health checks of an engine, in seconds."""

    shutdown_delay_s: float = Field(default=2.0, ge=0)
    """Time between leaving the registry and SIGTERM, in seconds: gateways stop sending before the engine stops."""

    kill_timeout_s: float = Field(default=30.0, gt=0)
    """Time an engine has to finish its requests after SIGTERM, in seconds."""

    restart_delay_s: float = Field(default=1.0, ge=0)
    """Time before a crashed engine is started again in place, in seconds."""

    llamacpp_command: str = ""
    """Command that jobs without a container start for llama.cpp, as a shell line; empty: our runner,
    `python -m aivailable.engines.llamacpp`. Must take llama-server's flags."""

    fetch_command: str = ""
    """Command that brings a model to a node before its engine starts, as a shell line; empty: `fetch` of this very
    installation."""

    vllm_command: str = "vllm serve"
    """Command that jobs without a container start for vLLM, as a shell line; the model's path follows."""

    deploy_timeout_s: float = Field(default=600.0, gt=0)
    """How long `deploy` watches before it gives up watching (exit code 3), in seconds."""

    @property
    def models_folder(self) -> Path:
        """Where model files lie on a node."""
        return self.models or self.state / "models"


def load(environment: Mapping[str, str]) -> Settings:
    """The settings of this process.

    Raises:
        UserError: An unknown `AIVAILABLE_*` variable, or a value of the wrong type.
    """
    names = {PREFIX + field.upper(): field for field in Settings.model_fields}
    given: dict[str, str] = {}
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
        variable = PREFIX + str(first["loc"][0]).upper()
        raise UserError(
            f"environment: {variable}={first['input']!r}: {first['msg']}", hint=f"unset {variable} or correct it"
        ) from error


def shipped(name: str) -> Path:
    """A folder of data files that comes with AIvailable (`jobs`, `envoy`, `examples`), in a wheel or in a checkout."""
    package = Path(__file__).parent
    installed = package / "_shipped" / name
    return installed if installed.is_dir() else package.parent / name
