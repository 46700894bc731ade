"""Nomad job text to dataclasses: what the embedded cluster imitates. Anything else in a job is refused by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import hcl2
from lark.exceptions import LarkError

from aivailable.errors import UserError

_OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, preserve_heredocs=False)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
OPERATORS = ("=", "!=", ">", ">=", "<", "<=", "regexp", "set_contains_any", "is_set")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A constraint (weight 0) or an affinity on one attribute."""

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
    """A service registration."""

    name: str
    port: str
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """In place: at most `attempts` in `interval_s`, then by mode `fail` the allocation fails."""

    attempts: int = 2
    interval_s: float = 1800.0
    delay_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reschedule:
    """On another place after a failure: delay, doubled each time up to `delay_max_s` when exponential."""

    delay_s: float = 30.0
    delay_max_s: float = 3600.0
    exponential: bool = True


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


def parse_job(text: str) -> Job:
    """The job that a job text describes.

    Raises:
        UserError: Not HCL, or something that the embedded cluster does not imitate.
    """
    try:
        document = hcl2.loads(text if text.endswith("\n") else text + "\n", serialization_options=_OPTIONS)
    except LarkError as error:
        raise UserError(f"job text: not HCL: {error}", hint="correct the job") from error
    top = _Block(document, "job text")
    job_id, body = top.labelled_one("job")
    top.done()
    if body.text("type", "service") != "service":
        raise _not_imitated(f"job {job_id}: type")
    group_name, group = body.labelled_one("group")
    if group.number("count", 1) != 1:
        raise _not_imitated(f"job {job_id}: count other than 1")
    ui = body.optional_block("ui")
    description = ui.text("description", "") if ui else ""
    if ui:
        ui.done()
    network = group.optional_block("network")
    ports = tuple(name for name, _ in network.labelled("port")) if network else ()
    if network:
        network.done()
    job = Job(
        id=job_id,
        group=group_name,
        priority=body.number("priority", 50),
        description=description,
        meta=body.mapping("meta"),
        tasks=tuple(_task(name, block) for name, block in group.labelled("task")),
        services=tuple(_service(block) for block in group.blocks("service")),
        ports=ports,
        constraints=(*_conditions(body, "constraint"), *_conditions(group, "constraint")),
        affinities=(*_conditions(body, "affinity"), *_conditions(group, "affinity")),
        restart=_restart(group.optional_block("restart")),
        reschedule=_reschedule(group.optional_block("reschedule")),
        shutdown_delay_s=group.seconds("shutdown_delay", 0.0),
    )
    group.done()
    body.done()
    if sum(not task.prestart for task in job.tasks) != 1:
        raise _not_imitated(f"job {job_id}: a group without exactly one main task")
    return job


def _task(name: str, block: "_Block") -> Task:
    if (driver := block.text("driver")) != "raw_exec":
        raise _not_imitated(f"{block.path}: driver {driver!r}")
    config = block.block("config")
    lifecycle = block.optional_block("lifecycle")
    if lifecycle:
        if lifecycle.text("hook") != "prestart" or lifecycle.flag("sidecar"):
            raise _not_imitated(f"{lifecycle.path}: anything but hook prestart without sidecar")
        lifecycle.done()
    resources = block.optional_block("resources")
    devices: tuple[DeviceAsk, ...] = ()
    if resources:
        resources.number("cpu", 0)
        resources.number("memory", 0)
        devices = tuple(_device(device, found) for device, found in resources.labelled("device"))
        resources.done()
    task = Task(
        name=name,
        command=config.text("command"),
        args=config.texts("args"),
        env=block.mapping("env"),
        templates=tuple(_template(found) for found in block.blocks("template")),
        devices=devices,
        prestart=lifecycle is not None,
        kill_timeout_s=block.seconds("kill_timeout", 5.0),
    )
    config.done()
    block.done()
    return task


def _device(name: str, block: "_Block") -> DeviceAsk:
    ask = DeviceAsk(
        name=name,
        count=block.number("count", 1),
        constraints=_conditions(block, "constraint"),
        affinities=_conditions(block, "affinity"),
    )
    block.done()
    return ask


def _template(block: "_Block") -> Template:
    if not block.flag("env"):
        raise _not_imitated(f"{block.path}: a template without env = true")
    block.text("destination")
    template = Template(data=block.heredoc("data"))
    block.done()
    return template


def _service(block: "_Block") -> Service:
    if (provider := block.text("provider", "consul")) != "consul":
        raise _not_imitated(f"{block.path}: provider {provider!r}")
    service = Service(
        name=block.text("name"),
        port=block.text("port"),
        tags=block.texts("tags"),
        meta=block.mapping("meta"),
        checks=tuple(_check(found) for found in block.blocks("check")),
    )
    block.done()
    return service


def _check(block: "_Block") -> Check:
    block.text("name", "")
    if (kind := block.text("type")) != "http":
        raise _not_imitated(f"{block.path}: check type {kind!r}")
    check = Check(path=block.text("path"), interval_s=block.seconds("interval"), timeout_s=block.seconds("timeout"))
    block.done()
    return check


def _restart(block: "_Block | None") -> Restart:
    if block is None:
        return Restart()
    if (mode := block.text("mode", "fail")) != "fail":
        raise _not_imitated(f"{block.path}: mode {mode!r}")
    restart = Restart(
        attempts=block.number("attempts", 2),
        interval_s=block.seconds("interval", 1800.0),
        delay_s=block.seconds("delay", 15.0),
    )
    block.done()
    return restart


def _reschedule(block: "_Block | None") -> Reschedule:
    if block is None:
        return Reschedule()
    function = block.text("delay_function", "exponential")
    if function not in {"exponential", "constant"}:
        raise _not_imitated(f"{block.path}: delay_function {function!r}")
    if not block.flag("unlimited", default=True):
        raise _not_imitated(f"{block.path}: unlimited = false")
    reschedule = Reschedule(
        delay_s=block.seconds("delay", 30.0),
        delay_max_s=block.seconds("max_delay", 3600.0),
        exponential=function == "exponential",
    )
    block.done()
    return reschedule


def _conditions(block: "_Block", kind: str) -> tuple[Condition, ...]:
    return tuple(_condition(found, kind) for found in block.blocks(kind))


def _condition(block: "_Block", kind: str) -> Condition:
    operator = block.text("operator", "=")
    if operator not in OPERATORS:
        raise _not_imitated(f"{block.path}: operator {operator!r}")
    condition = Condition(
        attribute=block.text("attribute"),
        operator=operator,
        value=block.text("value", ""),
        weight=block.number("weight", 50) if kind == "affinity" else 0,
    )
    block.done()
    return condition


def _not_imitated(what: str) -> UserError:
    return UserError(
        f"{what} is not imitated by the embedded cluster", hint="use it on a real Nomad, or leave it out here"
    )


def unescape(text: str) -> str:
    r"""The value of a quoted HCL string: `\"`, `\\`, `\n`, `\r`, `\t`, `$${` and `%%{`, as Nomad reads them."""
    plain = re.sub(r'\\(["\\nrt])', lambda found: _ESCAPES[found[1]], text)
    return plain.replace("$${", "${").replace("%%{", "%{")


class _Block:
    """One HCL block whose keys are taken one by one; `done` refuses what nobody took."""

    def __init__(self, body: Mapping[str, Any], path: str) -> None:
        self._left = {key: value for key, value in body.items() if not key.startswith("__")}
        self.path = path

    def text(self, key: str, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise UserError(f"{self.path}: {key}: expected a string", hint="correct the job")
        return unescape(value)

    def heredoc(self, key: str) -> str:
        """A string that may be a heredoc, in which backslashes are plain; only a heredoc spans lines."""
        value = self._take(key, None)
        return value.replace("$${", "${") if isinstance(value, str) and "\n" in value else unescape(str(value))

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{self.path}: {key}: expected a list of strings", hint="correct the job")
        return tuple(unescape(item) for item in value)

    def number(self, key: str, default: int | None = None) -> int:
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{self.path}: {key}: expected a whole number", hint="correct the job")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        return bool(self._take(key, default))

    def seconds(self, key: str, default: float | None = None) -> float:
        value = self._take(key, default)
        if isinstance(value, float):
            return value
        parts = re.findall(r"([0-9.]+)(ms|s|m|h)", str(value))
        if not parts:
            raise UserError(f"{self.path}: {key}: expected a duration such as 10s", hint="correct the job")
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)

    def mapping(self, key: str) -> dict[str, str]:
        block = self.optional_block(key)
        return {name: unescape(str(value)) for name, value in block._left.items()} if block else {}

    def blocks(self, key: str) -> list["_Block"]:
        value = self._take(key, [])
        return [_Block(body, f"{self.path} > {key}") for body in value]

    def optional_block(self, key: str) -> "_Block | None":
        found = self.blocks(key)
        if len(found) > 1:
            raise UserError(f"{self.path}: {key}: more than one block", hint="correct the job")
        return found[0] if found else None

    def block(self, key: str) -> "_Block":
        found = self.optional_block(key)
        if found is None:
            raise UserError(f"{self.path}: no block {key}", hint="correct the job")
        return found

    def labelled(self, key: str) -> list[tuple[str, "_Block"]]:
        value = self._take(key, [])
        return [
            (label.strip('"'), _Block(body, f"{self.path} > {key} {label}"))
            for entry in value
            for label, body in entry.items()
        ]

    def labelled_one(self, key: str) -> tuple[str, "_Block"]:
        found = self.labelled(key)
        if len(found) != 1:
            raise UserError(f"{self.path}: expected one {key}, found {len(found)}", hint="correct the job")
        return found[0]

    def done(self) -> None:
        if self._left:
            raise _not_imitated(f"{self.path}: {', '.join(sorted(self._left))}")

    def _take(self, key: str, default: Any) -> Any:
        if key in self._left:
            return self._left.pop(key)
        if default is None:
            raise UserError(f"{self.path}: {key} is missing", hint="correct the job")
        return default
