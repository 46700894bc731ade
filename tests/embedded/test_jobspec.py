from collections.abc import Iterator

import pytest
from hcl2.rules.abstract import LarkRule

from aivailable.embedded.job import Reschedule
from aivailable.embedded.jobspec import parse_job
from aivailable.errors import UserError
from aivailable.rendering.quoting import hcl_string
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
        pytest.param(('mode     = "fail"', 'mode = "never"'), "mode 'never'", id="restart mode"),
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
    ("change", "named"),
    [
        pytest.param(('port "http" {}', 'port "http" {\n static = 80\n }'), "static", id="static port"),
        pytest.param(('tags     = ["m"]', 'tags = ["${attr.os.name}"]'), "${attr.os.name}", id="variable in a tag"),
        pytest.param(("${NOMAD_PORT_http}", "${NOMAD_PORT_https}"), "${NOMAD_PORT_https}", id="variable in args"),
        pytest.param(
            ('path     = "/health"', 'path = "/${NOMAD_JOB_ID}"'), "/${NOMAD_JOB_ID}", id="variable in a path"
        ),
        pytest.param(('path     = "/health"', 'path = "%{ if true }x%{ endif }"'), "job text", id="directive"),
        pytest.param(('port     = "http"', 'port = "https"'), "no port 'https'", id="port of a service"),
        pytest.param(('replica = "0"', 'replica = "x"'), "replica 'x'", id="number of the replica"),
        pytest.param(("priority = 50", "priority = 50\n priority = 60"), "priority: given twice", id="a key twice"),
        pytest.param(("priority = 50", "priority = 25 + 25"), "expected a whole number", id="expression"),
        pytest.param(('interval = "100ms"', 'interval = "10x5s"'), "expected a duration", id="duration"),
        pytest.param(('interval = "100ms"', 'interval = "0s"'), "more than 0s", id="check without end"),
        pytest.param(("count = 2", "count = 0"), "at least 1", id="no slices"),
        pytest.param(('group "engine"', "group"), "one name", id="group without a name"),
        pytest.param(("check {", 'check "x" {'), "without a name", id="check with a name"),
        pytest.param(("meta {\n    model", "meta = {\n    model"), "meta", id="meta as a value"),
        pytest.param(("restart {", "restart {}\n restart {"), "more than one block", id="a block twice"),
        pytest.param(('"/health"', r'"/\q"'), "no such escape", id="escape"),
        pytest.param(('"/health"', r'"/\ud800"'), "no such escape", id="half a character"),
        pytest.param(("unlimited      = true", 'unlimited = "no"'), "true or false", id="text for a flag"),
        pytest.param(
            ("unlimited      = true", "unlimited = false"), "attempts: is missing", id="limited without attempts"
        ),
    ],
)
def test_a_job_that_could_not_run_is_refused_at_once(change: tuple[str, str], named: str) -> None:
    text = job().replace(*change)

    with pytest.raises(UserError) as caught:
        parse_job(text)
    assert named in caught.value.message


@pytest.mark.parametrize(
    "attribute", ["${attr.kernel.name}", "${device.attr.model}", "node.class", "${node.datacenter}"]
)
def test_a_node_attribute_that_is_not_imitated_is_refused(attribute: str) -> None:
    text = job(group=f'constraint {{\n attribute = "{attribute}"\n value = "x"\n}}')
    with pytest.raises(UserError) as caught:
        parse_job(text)
    assert f"attribute '{attribute}' is not imitated" in caught.value.message


@pytest.mark.parametrize(
    ("attribute", "operator", "value", "named"),
    [
        ("${node.class}", "=", "x", "attribute '${node.class}' is not imitated"),
        ("${device.attr.model}", "=", "${node.class}", "'${node.class}' is not imitated"),
        ("${device.attr.model}", "regexp", "(", "regexp '('"),
    ],
)
def test_a_device_condition_that_cannot_be_decided_is_refused(
    attribute: str, operator: str, value: str, named: str
) -> None:
    text = job(
        device=f'constraint {{\n attribute = "{attribute}"\n operator = "{operator}"\n value = "{value}"\n}}',
    )
    with pytest.raises(UserError) as caught:
        parse_job(text)
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"a\"b", 'a"b'),
        (r"a\\b", "a\\b"),
        (r"a\\nb", r"a\nb"),
        (r"c:\\temp\\new", r"c:\temp\new"),
        (r"a\nb\tc", "a\nb\tc"),
        (r"\u00e9\U0001F600", "é😀"),
        ("$${X}", "${X}"),
        ("$$${NOMAD_JOB_ID}", "$${NOMAD_JOB_ID}"),
        ("%%{X}", "%{X}"),
        ("plain é $ % {}", "plain é $ % {}"),
    ],
)
def test_hcl_escapes_are_undone_once_as_nomad_does(written: str, value: str) -> None:
    text = job().replace('variant = "./m.gguf"', f'variant = "{written}"')

    assert parse_job(text).meta["variant"] == value


@pytest.mark.parametrize("value", [r"a\nb", 'say "hi"', r"{\"a\": \"b\\c\"}", "é", "/path with space", "$5 100%"])
def test_what_the_renderer_quotes_comes_out_as_it_went_in(value: str) -> None:
    read = parse_job(job().replace('variant = "./m.gguf"', f"variant = {hcl_string(value)}"))

    assert read.meta["variant"] == value


@pytest.mark.parametrize(
    ("heredoc", "data"),
    [
        ('<<EOT\nA={{ env "B" }}\nC=\\n\nEOT', 'A={{ env "B" }}\nC=\\n\n'),
        ("<<EOT\nC=\\n\nEOT", "C=\\n\n"),
        ("<<-EOT\n    A=1\n      B=2\n    EOT", "A=1\n  B=2\n"),
        ("<<EOT\nA=$${B}%%{C}\nEOT", "A=${B}%{C}\n"),
        ('"A=1\\nB=2"', "A=1\nB=2"),
        ("<<EOT\nEOT", ""),
    ],
)
def test_a_template_keeps_its_text(heredoc: str, data: str) -> None:
    text = job(task=f'template {{\n data = {heredoc}\n destination = "x"\n env = true\n}}')

    assert parse_job(text).main_task.templates[0].data == data


def test_a_template_with_more_than_env_is_refused() -> None:
    text = job(task='template {\n data = "A={{ key \\"x\\" }}"\n destination = "x"\n env = true\n}')
    with pytest.raises(UserError, match="template with more than"):
        parse_job(text)


def test_numbers_and_booleans_in_a_mapping_are_texts_as_in_nomad() -> None:
    read = parse_job(job().replace('variant = "./m.gguf"', "variant = true\n context = 8192"))

    assert (read.meta["variant"], read.meta["context"]) == ("true", "8192")


def test_restart_by_delay_and_a_limited_reschedule_are_read() -> None:
    text = job().replace('mode     = "fail"', 'mode = "delay"')
    text = text.replace("unlimited      = true", 'unlimited = false\n attempts = 3\n interval = "1h"')

    read = parse_job(text)

    assert read.restart.mode == "delay"
    assert (read.reschedule.attempts, read.reschedule.interval_s) == (3, 3600.0)


def test_reschedule_delays_double_up_to_their_maximum_for_ever() -> None:
    policy = Reschedule(delay_s=2, delay_max_s=60)

    assert [policy.delay_after_s(n) for n in (1, 2, 3, 6, 7, 100_000)] == [2, 4, 8, 60, 60, 60]
    assert Reschedule(delay_s=2, exponential=False).delay_after_s(100_000) == 2


def rules(rule: type[LarkRule] = LarkRule) -> Iterator[type[LarkRule]]:
    yield rule
    for below in rule.__subclasses__():
        yield from rules(below)


def test_a_job_is_read_the_same_while_another_thread_reads_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller and the agent of a demo do. The library's default contexts are objects for all calls: here they
    are as a call that is under way in another thread leaves them."""
    shared = [rule.serialize.__defaults__[-1] for rule in rules() if rule.serialize.__defaults__]
    assert shared
    before = parse_job(job())
    for context in shared:
        monkeypatch.setattr(context, "inside_dollar_string", True)
        monkeypatch.setattr(context, "inside_parentheses", True)

    assert parse_job(job()) == before
