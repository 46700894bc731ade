"""A task's environment and what `${…}` in its strings becomes, in Nomad's order.

Host < the task's `env` < device reservation < `template` with `env = true`.
"""

import re
from collections.abc import Mapping, Sequence

from aivailable.embedded.jobspec import Template
from aivailable.errors import UserError

_INTERPOLATION = re.compile(r"\$\{([^}]*)\}")
_TEMPLATE_ENV = re.compile(r'\{\{-?\s*env\s+"([^"]*)"\s*-?\}\}')


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`text` with every `${NAME}` replaced.

    Raises:
        UserError: A name that the embedded cluster does not know.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        if name in variables:
            return variables[name]
        if name.startswith('env["') and name.endswith('"]'):
            return variables.get(name[5:-2], "")
        raise UserError(
            f"${{{name}}} is not imitated by the embedded cluster", hint=f"known are {', '.join(sorted(variables))}"
        )

    return _INTERPOLATION.sub(value, text)


def task_environment(
    *,
    host: Mapping[str, str],
    nomad: Mapping[str, str],
    task: Mapping[str, str],
    device: Mapping[str, str],
    templates: Sequence[Template],
) -> dict[str, str]:
    """The environment a task is started with.

    Raises:
        UserError: A template that uses more than `{{ env "X" }}`.
    """
    environment = {**host, **nomad, **{name: interpolate(value, nomad) for name, value in task.items()}, **device}
    for template in templates:
        environment.update(_template_lines(template, environment))
    return environment


def _template_lines(template: Template, environment: Mapping[str, str]) -> dict[str, str]:
    text = _TEMPLATE_ENV.sub(lambda found: environment.get(found[1], ""), template.data)
    if "{{" in text:
        raise UserError(
            'a template with more than {{ env "X" }} is not imitated by the embedded cluster',
            hint="use it on a real Nomad",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return {name.strip(): value.strip().strip('"') for name, _, value in (line.partition("=") for line in lines)}
