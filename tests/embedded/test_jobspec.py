import pytest

from aivailable.embedded.jobspec import parse_job, unescape
from aivailable.errors import UserError
from tests.embedded.jobs import job


def test_a_job_is_read_whole() -> None:
    read = parse_job(job())

    assert read.id == "llm-m-0-00000000"
    assert read.shutdown_delay_s == 0.1
    assert read.main_task.args[-1] == "${NOMAD_PORT_http}"
    assert read.main_task.devices[0].count == 2
    assert read.services[0].checks[0].interval_s == 0.1
    assert read.restart.attempts == 1
    assert not read.reschedule.exponential


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(('driver       = "raw_exec"', 'driver = "docker"'), "driver 'docker'", id="driver"),
        pytest.param(('provider = "consul"', 'provider = "nomad"'), "provider 'nomad'", id="provider"),
        pytest.param(('type     = "http"', 'type     = "tcp"'), "check type 'tcp'", id="check"),
        pytest.param(("count          = 1", "count = 2"), "count other than 1", id="count"),
        pytest.param(("count          = 1", "count = 1\n    update {}"), "update", id="block"),
        pytest.param(("cpu    = 100", "cpu = 100\n        cores = 2"), "cores", id="key"),
        pytest.param(('type     = "service"', 'type = "batch"'), "type", id="job type"),
        pytest.param(('mode     = "fail"', 'mode = "delay"'), "mode 'delay'", id="restart mode"),
        pytest.param(("model   =", 'datacenters = ["x"]\n'), "job text: not HCL", id="not HCL"),
    ],
)
def test_what_is_not_imitated_is_refused_by_name(change: tuple[str, str], named: str) -> None:
    text = job().replace(*change)

    with pytest.raises(UserError) as caught:
        parse_job(text)
    assert named in caught.value.message


def test_an_operator_that_is_not_imitated_is_refused() -> None:
    text = job(device='constraint {\n attribute = "${device.attr.model}"\n operator = "version"\n value = "1"\n}')
    with pytest.raises(UserError, match="operator 'version'"):
        parse_job(text)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"a\"b", 'a"b'),
        (r"a\\b", "a\\b"),
        (r"a\\nb", "a\\nb"),
        (r"a\nb", "a\nb"),
        ("$${X}", "${X}"),
        ("%%{X}", "%{X}"),
        ("plain", "plain"),
    ],
)
def test_hcl_escapes_are_undone_as_nomad_does(written: str, value: str) -> None:
    assert unescape(written) == value


def test_a_template_keeps_its_text() -> None:
    text = job(task='template {\n data = <<EOT\nA={{ env "B" }}\nC=\\n\nEOT\n destination = "x"\n env = true\n}')

    assert parse_job(text).main_task.templates[0].data == 'A={{ env "B" }}\nC=\\n'
