"""Scripts, units, the Vagrantfile and the page about them: what can be checked without running them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from aivailable.settings import load
from tests.deploy.scripts import DEPLOY, node_sh, read_hcl
from tests.processes import ROOT

SCRIPTS = sorted(DEPLOY.rglob("*.sh"))
POLICIES = sorted((DEPLOY / "policies").rglob("*.hcl"))
PAGES = [ROOT / "docs" / "install.md", DEPLOY / "policies" / "README.md"]
COMMANDS = [
    line.split("#")[0].strip()
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.splitlines()
]


def said(*words: str) -> tuple[int, str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (tests/setup.sh)")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: str(p.relative_to(DEPLOY)))
def test_scripts_are_plain_sh_and_pass_shellcheck_as_they_are_sourced(script: str) -> None:
    assert said("shellcheck", "-x", "-P", str(ROOT), "-s", "sh", str(script)) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no `systemd-analyze` on PATH")
@pytest.mark.parametrize("name", ["nomad", "consul"])
def test_systemd_takes_the_units(tmp_path: object, name: str) -> None:
    unit = ROOT.joinpath(str(tmp_path), f"{name}.service")
    text = (DEPLOY / unit.name).read_text().replace("@NOMAD@", "/bin/true").replace("@CONSUL@", "/bin/true")
    unit.write_text(text.replace("User=consul", "User=root"))
    _, words = said("systemd-analyze", "verify", "--man=no", str(unit))
    assert [line for line in words.splitlines() if unit.name in line and "consul.service" not in line[:40]] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no `systemd-analyze` on PATH")
@pytest.mark.parametrize("file", sorted(DEPLOY.glob("systemd/*.service")), ids=lambda p: p.name)
def test_systemd_takes_the_units_for_outside_nomad(tmp_path: Path, file: Path) -> None:
    unit = tmp_path / file.name
    unit.write_text(file.read_text().replace("/opt/aivailable/bin/aivailable", "/bin/true"))
    _, words = said("systemd-analyze", "verify", "--man=no", str(unit))
    assert [line for line in words.splitlines() if unit.name in line] == []


@pytest.mark.consul
@pytest.mark.skipif(shutil.which("consul") is None, reason="no `consul` on PATH")
@pytest.mark.parametrize("file", sorted(DEPLOY.glob("systemd/*.hcl")), ids=lambda p: p.name)
def test_consul_takes_the_services_for_outside_nomad(tmp_path: Path, file: Path) -> None:
    shutil.copy(file, tmp_path)
    (tmp_path / "agent.hcl").write_text(f'data_dir = "{tmp_path}/data"\nbind_addr = "127.0.0.1"\n')
    status, words = said("consul", "validate", str(tmp_path))
    assert (status, "Configuration is valid!" in words) == (0, True), words


def test_the_settings_for_outside_nomad_are_settings() -> None:
    lines = (DEPLOY / "systemd" / "aivailable.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert load(given).gateway_address == "127.0.0.1"
    assert "/etc/aivailable/aivailable.env" in "".join(lines)


@pytest.mark.skipif(shutil.which("ruby") is None, reason="no `ruby` on PATH")
def test_the_vagrantfile_is_ruby() -> None:
    assert said("ruby", "-c", str(ROOT / "Vagrantfile"))[0] == 0


def test_the_vagrantfile_uses_options_that_there_are() -> None:
    used = set(re.findall(r"(?<![\w-])--[a-z-]+", (ROOT / "Vagrantfile").read_text()))
    assert used - {"--no-install-recommends", "--quiet", "--no-deps"} <= options()


def options() -> set[str]:
    return set(re.findall(r"--[a-z-]+", node_sh("--help").stdout))


def test_help_names_every_option_and_no_other() -> None:
    text = (DEPLOY / "node.sh").read_text()
    parsed = set(re.findall(r"^ +(--[a-z-]+)\)", text, re.MULTILINE))
    assert parsed == options()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c])
def test_the_commands_of_the_pages_are_shell_and_their_options_exist(command: str) -> None:
    assert said("sh", "-n", "-c", command.replace("…", "x"))[0] == 0, command
    if "node.sh" in command:
        assert set(re.findall(r"(?<![\w-])--[a-z-]+", command)) <= options(), command


@pytest.mark.parametrize("file", POLICIES, ids=lambda p: str(p.relative_to(DEPLOY)))
def test_policies_are_hcl_and_say_whom_they_are_for(file: str) -> None:
    text = (DEPLOY / "policies" / file).read_text()
    assert text.startswith("# For ")
    assert read_hcl(DEPLOY / "policies" / file)


@pytest.mark.parametrize("script", ["policies/apply.sh", "policies/consul/apply.sh"])
def test_applying_policies_without_a_token_is_refused_with_a_hint(script: str) -> None:
    done = subprocess.run(
        [str(DEPLOY / script)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    assert done.returncode == 2
    assert "\n\nhint: " in done.stderr
    assert said(str(DEPLOY / script), "--nonsense")[0] == 2
    assert said(str(DEPLOY / script), "--help")[0] == 0


def test_files_are_short() -> None:
    long = [
        p for p in [*DEPLOY.rglob("*"), ROOT / "Vagrantfile"] if p.is_file() and len(p.read_text().splitlines()) > 400
    ]
    assert long == []
