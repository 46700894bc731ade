"""A job as the embedded cluster runs it: the part of Nomad's job that it imitates, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A constraint (weight 0) or an affinity on one attribute, written `${…}`."""

    attribute: str
    operator: str
    value: str
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAsk:
    """A `device` block: so many instances of one group."""

    name: str
    count: int
    constraints: tuple[Condition, ...] = ()
    affinities: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A `template` block with `env = true`: lines of NAME=value."""

    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One process of the group."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    templates: tuple[Template, ...] = ()
    devices: tuple[DeviceAsk, ...] = ()
    prestart: bool = False
    kill_timeout_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """An HTTP health check."""

    path: str
    interval_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service registration; `port` is the label of a port of the group."""

    name: str
    port: str
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """In place, at most `attempts` times in `interval_s`.

    Then by mode: `fail` fails the allocation, `delay` waits for the end of the interval.
    """

    attempts: int = 2
    interval_s: float = 1800.0
    delay_s: float = 15.0
    mode: str = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reschedule:
    """In another place after a failure: delay, doubled each time up to `delay_max_s` when exponential.

    At most `attempts` times in `interval_s`; None is without end.
    """

    delay_s: float = 30.0
    delay_max_s: float = 3600.0
    exponential: bool = True
    attempts: int | None = None
    interval_s: float = 0.0

    def delay_after_s(self, failures: int) -> float:
        """Seconds to wait when so many allocations have failed, this one included (from 1)."""
        if not self.exponential:
            return self.delay_s
        doublings = min(failures - 1, 60)  # beyond any delay's maximum, and still a float
        return min(self.delay_max_s, self.delay_s * float(1 << doublings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job with its one group of count 1."""

    id: str
    group: str
    priority: int
    description: str
    meta: Mapping[str, str]
    tasks: tuple[Task, ...]
    services: tuple[Service, ...]
    ports: tuple[str, ...]
    constraints: tuple[Condition, ...]
    affinities: tuple[Condition, ...]
    restart: Restart
    reschedule: Reschedule
    shutdown_delay_s: float

    @property
    def main_task(self) -> Task:
        """The task that is no prestart task."""
        return next(task for task in self.tasks if not task.prestart)
