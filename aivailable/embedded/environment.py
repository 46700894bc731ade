"""A task's environment and what `${…}` in its strings becomes, in Nomad's order.

Host < the task's `env` < device reservation < `template` with `env = true`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from aivailable.embedded.conditions import META_PREFIX, NODE_ATTRIBUTES
from aivailable.embedded.hcl import not_imitated
from aivailable.embedded.job import Template
from aivailable.errors import UserError

_INTERPOLATION = re.compile(r"\$\{([^}]*)\}")
_TEMPLATE_ENV = re.compile(r'\{\{-?\s*env\s+"([^"]*)"\s*-?\}\}')


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`text` with every `${NAME}` replaced.

    Raises:
        UserError: A name that the embedded cluster does not know.
    """

    def value(found: re.Match[str]) -> str:
        if (name := _name(found)) in variables:
            return variables[name]
        raise UserError(f"${{{name}}} has no value here", hint=f"known are {', '.join(sorted(variables))}")

    return _INTERPOLATION.sub(value, text)


def check_variables(text: str, ports: Sequence[str]) -> None:
    """Refuse variables that no task has, before anything runs.

    Raises:
        UserError: A name that the embedded cluster does not know.
    """
    nomad = nomad_variables(
        alloc="", job="", group="", task="", folder=Path(), address="", ports=dict.fromkeys(ports, 0)
    )
    known = {*nomad, *NODE_ATTRIBUTES}
    for found in _INTERPOLATION.finditer(text):
        if (name := _name(found)) not in known and not name.startswith(META_PREFIX):
            raise not_imitated(f"${{{name}}}")


def check_template(template: Template) -> None:
    """Refuse templates that do more than name variables.

    Raises:
        UserError: A template that uses more than `{{ env "X" }}`.
    """
    if "{{" in _TEMPLATE_ENV.sub("", template.data):
        raise not_imitated('a template with more than {{ env "X" }}')


def nomad_variables(
    *, alloc: str, job: str, group: str, task: str, folder: Path, address: str, ports: Mapping[str, int]
) -> dict[str, str]:
    """The NOMAD_… variables of a task; `folder` is that of its allocation."""
    variables = {
        "NOMAD_ALLOC_ID": alloc,
        "NOMAD_ALLOC_INDEX": "0",
        "NOMAD_JOB_ID": job,
        "NOMAD_JOB_NAME": job,
        "NOMAD_GROUP_NAME": group,
        "NOMAD_TASK_NAME": task,
        "NOMAD_ALLOC_DIR": str(folder / "alloc"),
        "NOMAD_TASK_DIR": str(folder / "local"),
        "NOMAD_SECRETS_DIR": str(folder / "secrets"),
    }
    for label, port in ports.items():
        variables[f"NOMAD_PORT_{label}"] = variables[f"NOMAD_HOST_PORT_{label}"] = str(port)
        variables[f"NOMAD_IP_{label}"] = address
        variables[f"NOMAD_ADDR_{label}"] = f"{address}:{port}"
    return variables


def task_environment(
    *,
    host: Mapping[str, str],
    nomad: Mapping[str, str],
    node: Mapping[str, str],
    task: Mapping[str, str],
    device: Mapping[str, str],
    templates: Sequence[Template],
) -> dict[str, str]:
    """The environment a task is started with; `node` attributes are known in it but not part of it.

    Raises:
        UserError: A variable without a value.
    """
    known = {**node, **nomad}
    environment = {**host, **nomad, **{name: interpolate(value, known) for name, value in task.items()}, **device}
    for template in templates:
        environment.update(_template_lines(template, environment))
    return environment


def _name(found: re.Match[str]) -> str:
    """The variable meant by `${NAME}` or `${env["NAME"]}`."""
    return found[1].strip().removeprefix('env["').removesuffix('"]')


def _template_lines(template: Template, environment: Mapping[str, str]) -> dict[str, str]:
    text = _TEMPLATE_ENV.sub(lambda found: environment.get(found[1], ""), template.data)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return {name.strip(): value.strip().strip('"') for name, _, value in (line.partition("=") for line in lines)}
