"""Nomad job text to a job: what the embedded cluster imitates. Anything else in a job is refused by name."""

import re

from aivailable.embedded.conditions import DEVICE_PREFIX, META_PREFIX, NODE_ATTRIBUTES, OPERATORS
from aivailable.embedded.environment import check_template, check_variables
from aivailable.embedded.hcl import Block, not_imitated
from aivailable.embedded.job import (
    Check,
    Condition,
    DeviceAsk,
    Job,
    Reschedule,
    Restart,
    Service,
    Task,
    Template,
)
from aivailable.errors import UserError

_ATTRIBUTE = re.compile(r"\$\{([^{}]+)\}")


def parse_job(text: str) -> Job:
    """The job that a job text describes.

    Raises:
        UserError: Not HCL, or something that the embedded cluster does not imitate.
    """
    top = Block.parse(text)
    job_id, body = top.labelled_one("job")
    top.done()
    if body.text("type", "service") != "service":
        raise not_imitated(f"job {job_id}: type")
    group_name, group = body.labelled_one("group")
    if group.number("count", 1) != 1:
        raise not_imitated(f"job {job_id}: count other than 1")
    if (consul := group.optional_block("consul")) is not None:
        consul.done()  # nobody asks for tokens here
    description = _description(body.optional_block("ui"))
    job = Job(
        id=job_id,
        group=group_name,
        priority=body.number("priority", 50, least=1),
        description=description,
        meta=body.mapping("meta"),
        tasks=tuple(_task(name, block) for name, block in group.labelled("task")),
        services=tuple(_service(block) for block in group.blocks("service")),
        ports=_ports(group.optional_block("network")),
        constraints=(*_on_node(body, "constraint"), *_on_node(group, "constraint")),
        affinities=(*_on_node(body, "affinity"), *_on_node(group, "affinity")),
        restart=_restart(group.optional_block("restart")),
        reschedule=_reschedule(group.optional_block("reschedule")),
        shutdown_delay_s=group.seconds("shutdown_delay", 0.0),
    )
    group.done()
    body.done()
    _check_whole(job)
    return job


def _description(ui: Block | None) -> str:
    """The job's description for people; links are read, and shown nowhere."""
    if ui is None:
        return ""
    description = ui.text("description", "")
    for link in ui.blocks("link"):
        link.text("label")
        link.text("url")
        link.done()
    ui.done()
    return description


def _check_whole(job: Job) -> None:
    """What only shows when all of a job is known: names that refer to each other."""
    where = f"job {job.id}"
    if sum(not task.prestart for task in job.tasks) != 1:
        raise not_imitated(f"{where}: a group without exactly one main task")
    if len({task.name for task in job.tasks}) < len(job.tasks):
        raise UserError(f"{where}: two tasks have one name", hint="correct the job")
    for service in job.services:
        if service.port not in job.ports:
            raise UserError(f"{where}: service {service.name}: no port {service.port!r}", hint="add it to `network`")
    if "model" in job.meta and not job.meta.get("replica", "0").isdecimal():
        raise UserError(f"{where}: meta replica {job.meta['replica']!r} is no number", hint="correct the job")
    words = [word for task in job.tasks for word in (task.command, *task.args, *task.env.values())]
    words += [word for service in job.services for word in (*service.tags, *service.meta.values())]
    for word in words:
        check_variables(word, job.ports)


def _ports(network: Block | None) -> tuple[str, ...]:
    if network is None:
        return ()
    found = network.labelled("port")
    for _, port in found:
        port.done()
    network.done()
    return tuple(name for name, _ in found)


def _task(name: str, block: Block) -> Task:
    if (driver := block.text("driver")) != "raw_exec":
        raise not_imitated(f"{block.path}: driver {driver!r}")
    config = block.block("config")
    lifecycle = block.optional_block("lifecycle")
    if lifecycle:
        if lifecycle.text("hook") != "prestart" or lifecycle.flag("sidecar"):
            raise not_imitated(f"{lifecycle.path}: anything but hook prestart without sidecar")
        lifecycle.done()
    resources = block.optional_block("resources")
    devices: tuple[DeviceAsk, ...] = ()
    if resources:
        resources.number("cpu", 0, least=0)
        resources.number("memory", 0, least=0)
        devices = tuple(_device(device, found) for device, found in resources.labelled("device"))
        resources.done()
    if (kill_signal := block.text("kill_signal", "SIGTERM")) != "SIGTERM":
        raise not_imitated(f"{block.path}: kill_signal {kill_signal!r}")
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


def _device(name: str, block: Block) -> DeviceAsk:
    ask = DeviceAsk(
        name=name,
        count=block.number("count", 1, least=1),
        constraints=_on_device(block, "constraint"),
        affinities=_on_device(block, "affinity"),
    )
    block.done()
    return ask


def _template(block: Block) -> Template:
    if not block.flag("env"):
        raise not_imitated(f"{block.path}: a template without env = true")
    block.text("destination")
    template = Template(data=block.text("data"))
    check_template(template)
    block.done()
    return template


def _service(block: Block) -> Service:
    if (provider := block.text("provider", "consul")) != "consul":
        raise not_imitated(f"{block.path}: provider {provider!r}")
    service = Service(
        name=_plain(block, "name"),
        port=block.text("port"),
        tags=block.texts("tags"),
        meta=block.mapping("meta"),
        checks=tuple(_check(found) for found in block.blocks("check")),
    )
    block.done()
    return service


def _check(block: Block) -> Check:
    block.text("name", "")
    if (kind := block.text("type")) != "http":
        raise not_imitated(f"{block.path}: check type {kind!r}")
    check = Check(path=_plain(block, "path"), interval_s=block.seconds("interval"), timeout_s=block.seconds("timeout"))
    if not check.interval_s or not check.timeout_s:
        raise UserError(f"{block.path}: interval and timeout must be more than 0s", hint="correct the job")
    block.done()
    return check


def _plain(block: Block, key: str) -> str:
    """A string in which nothing is interpolated here."""
    if "${" in (value := block.text(key)):
        raise not_imitated(f"{block.path}: {key}: {value!r}")
    return value


def _restart(block: Block | None) -> Restart:
    if block is None:
        return Restart()
    if (mode := block.text("mode", "fail")) not in {"fail", "delay"}:
        raise not_imitated(f"{block.path}: mode {mode!r}")
    restart = Restart(
        attempts=block.number("attempts", 2, least=0),
        interval_s=block.seconds("interval", 1800.0),
        delay_s=block.seconds("delay", 15.0),
        mode=mode,
    )
    block.done()
    return restart


def _reschedule(block: Block | None) -> Reschedule:
    if block is None:
        return Reschedule()
    function = block.text("delay_function", "exponential")
    if function not in {"exponential", "constant"}:
        raise not_imitated(f"{block.path}: delay_function {function!r}")
    limited = not block.flag("unlimited", default=True)
    reschedule = Reschedule(
        delay_s=block.seconds("delay", 30.0),
        delay_max_s=block.seconds("max_delay", 3600.0),
        exponential=function == "exponential",
        attempts=block.number("attempts", least=0) if limited else None,
        interval_s=block.seconds("interval") if limited else 0.0,
    )
    block.done()
    return reschedule


def _on_node(block: Block, kind: str) -> tuple[Condition, ...]:
    return tuple(_condition(found, kind, on_device=False) for found in block.blocks(kind))


def _on_device(block: Block, kind: str) -> tuple[Condition, ...]:
    return tuple(_condition(found, kind, on_device=True) for found in block.blocks(kind))


def _condition(block: Block, kind: str, *, on_device: bool) -> Condition:
    operator = block.text("operator", "=")
    if operator not in OPERATORS:
        raise not_imitated(f"{block.path}: operator {operator!r}")
    condition = Condition(
        attribute=block.text("attribute"),
        operator=operator,
        value=_plain(block, "value") if operator != "is_set" else block.text("value", ""),
        weight=block.number("weight", 50) if kind == "affinity" else 0,
    )
    block.done()
    named = _ATTRIBUTE.fullmatch(condition.attribute)
    prefix = DEVICE_PREFIX if on_device else META_PREFIX
    if not named or not (named[1].startswith(prefix) or (not on_device and named[1] in NODE_ATTRIBUTES)):
        raise not_imitated(f"{block.path}: attribute {condition.attribute!r}")
    if operator == "regexp":
        try:
            re.compile(condition.value)
        except re.error as error:
            raise UserError(f"{block.path}: regexp {condition.value!r}: {error}", hint="correct the job") from error
    return condition
