"""The desired state: which models, how many replicas, from which weights."""

from dataclasses import dataclass
from enum import StrEnum

from aivailable.model.names import slug
from aivailable.model.profile import Profile

IDLE_TIMEOUT_S = 120
"""Longer than an engine reads a long prompt, with a few requests before it; on slow cards a model may need more."""
QUEUE = 100


class Engine(StrEnum):
    """The program that serves a variant."""

    VLLM = "vllm"
    LLAMACPP = "llamacpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A source pinned once: the revision, the checksum and the profile read from the headers.

    `sha256` is that of the one file, or of the lines `<sha256>  <name>` of several. `path` is where the file lies on
    the machine that resolved it (local and `package:` sources only), else empty.
    """

    revision: str
    sha256: str
    profile: Profile
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Concrete weights for one engine. `flags` are passed to the engine as given, after the planned ones."""

    source: str
    flags: tuple[str, ...] = ()
    resolved: Resolved | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Restricts the cards of a model. `card` is a shell pattern on the card's name; case does not matter."""

    vendor: str | None = None
    card: str | None = None
    node_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model of the fleet; variants in order of preference.

    `context` is the tokens one request may use, `concurrency` how many requests at full context each replica holds
    in VRAM, `priority` 1 to 100 (higher goes first), `min_available` how many replicas must stay serving whatever is
    planned (None: see `kept_serving`).
    `attempt` counts how often a version that was given up was deployed again: each is a version of its own.
    `idle_timeout_s` is how long an engine may send nothing before another one is asked, `queue` how many requests per
    replica may wait for a place beyond `concurrency` before more are refused.
    """

    name: str
    variants: tuple[Variant, ...]
    replicas: int = 1
    min_available: int | None = None
    priority: int = 50
    context: int = 8192
    concurrency: int = 8
    idle_timeout_s: int = IDLE_TIMEOUT_S
    queue: int = QUEUE
    where: Where = Where()
    attempt: int = 0

    @property
    def slug(self) -> str:
        """The name as DNS, job ids and statistics carry it."""
        return slug(self.name)

    @property
    def kept_serving(self) -> int:
        """Replicas that no update, move or drain may interrupt: `min_available`, else one of several, none of one."""
        return min(1, self.replicas - 1) if self.min_available is None else self.min_available


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The whole desired state.

    `mesh` says how engines are reached: `bridge` and `host` by mutual TLS, in a network namespace of their own or on
    the host's loopback; `none` and None plain. `driver` None means: what suits the cluster (see `placement`).
    `previous` are the versions that models had before and can go back to, at most one of each.
    """

    models: tuple[ModelSpec, ...] = ()
    mesh: str | None = None
    driver: str | None = None
    previous: tuple[ModelSpec, ...] = ()

    @property
    def meshed(self) -> bool:
        """Whether engines are to be reached by mutual TLS."""
        return self.mesh in ("bridge", "host")

    def model(self, name: str) -> ModelSpec | None:
        """The model of that name, or None."""
        return next((m for m in self.models if m.name == name), None)


EMPTY_FLEET = Fleet()
