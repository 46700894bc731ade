import pytest

from aivailable.embedded.environment import interpolate, task_environment
from aivailable.embedded.job import Template
from aivailable.errors import UserError

NOMAD = {"NOMAD_PORT_http": "8000", "NOMAD_ALLOC_ID": "a"}


def environment(*templates: str) -> dict[str, str]:
    return task_environment(
        host={"X": "host", "PATH": "/bin"},
        nomad=NOMAD,
        node={"node.unique.name": "n1", "meta.rack": "r"},
        task={
            "X": "task",
            "WHERE": "${node.unique.name}-${meta.rack}",
            "URL": "http://h:${NOMAD_PORT_http}",
            "CUDA_VISIBLE_DEVICES": "task",
        },
        device={"CUDA_VISIBLE_DEVICES": "GPU-1", "AIVAILABLE_CARD_0": "GPU-1", "AIVAILABLE_CARD_1": "GPU-2"},
        templates=tuple(Template(data=text) for text in templates),
    )


def test_the_order_is_host_task_device_template() -> None:
    made = environment('CUDA_VISIBLE_DEVICES={{ env "AIVAILABLE_CARD_0" }},{{ env "AIVAILABLE_CARD_1" }}\n')

    assert made["X"] == "task"
    assert made["URL"] == "http://h:8000"
    assert made["WHERE"] == "n1-r"
    assert "meta.rack" not in made
    assert made["CUDA_VISIBLE_DEVICES"] == "GPU-1,GPU-2"
    assert environment()["CUDA_VISIBLE_DEVICES"] == "GPU-1"


def test_a_variable_without_a_value_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"\$\{NOMAD_PORT_https\}"):
        interpolate("${NOMAD_PORT_https}", NOMAD)


def test_text_without_variables_stays() -> None:
    assert interpolate("$5 {x} $", NOMAD) == "$5 {x} $"
