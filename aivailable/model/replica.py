"""One running engine process of a model, as asked for (spec) and as observed."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from aivailable.model.fleet import Engine, Variant
from aivailable.model.names import slug

_IDENTITY = json.JSONEncoder(sort_keys=True)


class ReplicaState(StrEnum):
    """Where a replica is in its life."""

    PENDING = "pending"
    FETCHING = "fetching"
    LOADING = "loading"
    SERVING = "serving"
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpec:
    """What is asked of one replica. Never edited: another spec is another job.

    `driver` is Nomad's task driver, `mesh` one of `bridge`, `host`, `none`; `attempt` tells a version that was given up
    from the same one deployed again.
    """

    model: str
    variant: Variant
    engine: Engine
    context: int
    concurrency: int
    driver: str
    mesh: str
    simulated: bool = False
    attempt: int = 0

    @property
    def hash8(self) -> str:
        """Eight hex digits over what the user asked for.

        The claim, the card and the path of a file are left out: a better estimate, another card or another machine
        that resolved the same weights must not restart a healthy engine.
        """
        resolved = self.variant.resolved
        identity = {
            "model": self.model,
            "source": self.variant.source,
            "revision": resolved.revision if resolved else "",
            "sha256": resolved.sha256 if resolved else "",
            "flags": self.variant.flags,
            "engine": self.engine,
            "context": self.context,
            "concurrency": self.concurrency,
            "driver": self.driver,
            "mesh": self.mesh,
            "simulated": self.simulated,
        }
        if self.attempt:
            identity["attempt"] = self.attempt
        return hashlib.sha256(_IDENTITY.encode(identity).encode()).hexdigest()[:8]

    def job_id(self, replica: int) -> str:
        """The Nomad job id of replica number `replica`: `llm-<slug>-<replica>-<hash8>`."""
        return f"llm-{slug(self.model)}-{replica}-{self.hash8}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica as observed: its job, where it runs and how it is.

    `variant` is the variant's source, `engine` the program's name, `vendor` the vendor its job asks for. `cards` are
    uuids; `claim_mib` is per card, in whole slices as booked. `failures` counts its allocations that failed, on
    whatever card. `address` is `host:port` of the engine while it is registered, else empty. `replaces` is the job it
    was started to move: that one stops when this one serves. `note` says in words what the state does not (why it
    waits, why it was lost). `forsaken` says why it is to be replaced although it runs, where a clock was needed to tell
    (it is unhealthy for too long); empty: it is not. `index` is that of its job's registration, another one after each;
    0 where it is unknown.
    """

    model: str
    variant: str
    replica: int
    job: str
    state: ReplicaState
    engine: str = ""
    vendor: str = ""
    alloc: str = ""
    node: str = ""
    cards: tuple[str, ...] = ()
    claim_mib: tuple[int, ...] = ()
    measured_mib: int | None = None
    load_s: float | None = None
    failures: int = 0
    requests_per_s: float | None = None
    address: str = ""
    replaces: str = ""
    note: str = ""
    forsaken: str = ""
    index: int = 0


def hash_of(job_id: str) -> str:
    """The spec hash in a job id that `ReplicaSpec.job_id` made."""
    return job_id.rpartition("-")[2]


def number_of(job_id: str) -> int:
    """The replica number in a job id that `ReplicaSpec.job_id` made; -1 in any other."""
    number = job_id.rsplit("-", 2)[-2:-1]
    return int(number[0]) if number and number[0].isdigit() else -1
