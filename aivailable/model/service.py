"""What the registry and the secret store hold: engine instances and API keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ENGINE_SERVICE = "llm-engine"
"""The one Consul service name under which every engine is registered; its tag is the model's slug."""

ENGINE_SIDECARS = f"{ENGINE_SERVICE}-sidecar-proxy"
"""The name under which Nomad registers Envoy sidecars of engines."""

GATEWAY_SERVICE = "llm"
"""The one name under which clients find the gateways; their name in the mesh, too."""
CONTROLLER_SERVICE = "aivailable-controller"

CONTROLLER_JOB = "aivailable-controller"
GATEWAY_JOB = "aivailable-gateway"
PROMETHEUS_JOB = "aivailable-prometheus"
"""Also the name of its service."""
OPEN_WEBUI_JOB = "aivailable-open-webui"
OPEN_WEBUI_SERVICE = "aivailable-open-webui"

FLEET_KEY = "aivailable/fleet"
EVENTS_KEY = "aivailable/events"
LEADER_KEY = "aivailable/leader"
CACHE_PREFIX = "aivailable/cache/"
"""Before `<node>/<sha256>`: that node has those model files."""
LEAVING_PREFIX = "aivailable/leaving/"
"""Before a node's name: its work is to move off."""
FAILED_KEY = "aivailable/failed"
"""The versions of models that were given up."""
MEASURED_PREFIX = "aivailable/measured/"
"""Before `<sha256>`: what engines with those model files were seen to hold."""
KEYS_PATH = "aivailable/keys"
USAGE_PREFIX = "aivailable/usage/"
"""Before a gateway's name: what it has counted."""


def host_port(address: str, port: int) -> str:
    """An address and a port as one word, of URLs and of Envoy; an IPv6 address goes into brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One registered instance of a service. `passing`: all its health checks pass.

    The meta `mesh` of an engine says how it is reached: `bridge` and `host` by mutual TLS, `none` and without it plain.
    """

    id: str
    service: str
    address: str
    port: int
    passing: bool
    node: str = ""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)

    @property
    def meshed(self) -> bool:
        """Whether it is reached by mutual TLS."""
        return self.meta.get("mesh", "none") != "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One client's key. `models` names what it may use; empty means all of them.

    `id` is public (logs, lists, Envoy's client name); `secret` is what the client sends. `rpm` is requests per minute,
    `tpm` and `tokens_per_day` are tokens (prompt and completion, days in UTC); 0 means no limit. From `expires_at` on
    (seconds since 1970; 0: never) it is refused.
    """

    id: str
    secret: str = field(repr=False)
    models: tuple[str, ...] = ()
    rpm: int = 0
    tpm: int = 0
    tokens_per_day: int = 0
    expires_at: float = 0.0

    def may_use(self, model: str) -> bool:
        """Whether this key may send requests to `model`."""
        return not self.models or model in self.models
