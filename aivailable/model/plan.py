"""What shall run where, the ordered actions that lead there, and the reasons for what is not placed."""

from dataclasses import dataclass

from aivailable.model.fleet import ModelSpec
from aivailable.model.footprint import Footprint
from aivailable.model.replica import Replica, ReplicaSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a card must offer for the replica to run there; becomes hard constraints of the job.

    `memory_mib` is the least total memory, so that a claim is never tried on a card that could not hold it.
    `device_type` is Nomad's; of type `gpu` (whole cards, whose plugin tells no capability) the card must be a `model`.
    """

    vendor: str
    memory_mib: int
    slice_mib: int
    compute_capability_min: float | None = None
    gfx: tuple[str, ...] = ()
    device_type: str = "vram"
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One replica on one node.

    `cards` (uuids), `indexes` (the cards' numbers on their node) and `slices` go together, one entry per card used.
    `flags` is what the engine is started with, complete but for addresses and paths. `image` names the container
    for container drivers, `priority` is that of the model. `replaces` is the job that stops when this replica serves,
    where it was started to move that one.
    """

    spec: ReplicaSpec
    replica: int
    node: str
    node_id: str
    cards: tuple[str, ...]
    slices: tuple[int, ...]
    claim_mib: tuple[int, ...]
    footprint: Footprint
    requirement: Requirement
    flags: tuple[str, ...] = ()
    image: str = ""
    priority: int = 50
    replaces: str = ""
    indexes: tuple[int, ...] = ()

    @property
    def job_id(self) -> str:
        """The id of the Nomad job that runs this replica."""
        return self.spec.job_id(self.replica)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Register the job of a placement.

    Not before the jobs in `waits_for` have ended, whose room or id it needs, or serve, where they start on its card.
    """

    placement: Placement
    why: str
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop the job of a replica, as soon as the jobs in `waits_for` that start on its card serve."""

    replica: Replica
    why: str
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Start `placement`, wait until it serves, stop `replica`; `waits_for` as for a start."""

    replica: Replica
    placement: Placement
    why: str
    waits_for: tuple[str, ...] = ()


Action = Start | Stop | Move


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """A card that came close: how many MiB it is short (0 when the rule is not about memory)."""

    node: str
    card: str
    short_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule that forbids a replica, on how many cards, and the cards that came closest.

    `rule` is a short stable name, `text` the sentence for people.
    """

    rule: str
    count: int
    text: str
    nearest: tuple[Nearest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """Replicas of one model that found no place, why, and what would help.

    `replica` is the number of the first, `count` how many they are: the others found none for the same reasons.
    """

    model: str
    replica: int
    reasons: tuple[Reason, ...]
    would_help: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """Replicas of one model that a later plan starts, and when: `replica` is the number of the first of `count`."""

    model: str
    replica: int
    why: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Intention:
    """What a plan decided for one replica and has not begun: the job to register, on which cards, as which variant.

    `spec` is the model as it was decided about, `source` the variant's, `moves` the job that runs now and is to move
    there (empty: none), `why` for whom.
    """

    spec: ModelSpec
    source: str
    cards: tuple[str, ...]
    job: str
    moves: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardUse:
    """One card before and after the plan, in MiB of booked slices."""

    node: str
    uuid: str
    name: str
    total_mib: int
    before_mib: int
    after_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of `plan(fleet, snapshot)`.

    `placements` are all replicas that shall run, kept ones included. `actions` are in an order that is valid at every
    step. `intended` is what the plan after this one goes on with. `seconds` is set by who measured it; the planner has
    no clock.
    """

    placements: tuple[Placement, ...] = ()
    actions: tuple[Action, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    deferred: tuple[Deferred, ...] = ()
    cards: tuple[CardUse, ...] = ()
    intended: tuple[Intention, ...] = ()
    seconds: float = 0.0
