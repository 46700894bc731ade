"""What works without the extra `demo`, seen by hiding its modules from the import system."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aivailable.cli.main import VERBS
from aivailable.documents import snapshot_document
from aivailable.fleetfile import dump_fleet_file
from tests.processes import ROOT
from tests.samples import fleet, model, rack

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in {"psutil", "xllamacpp"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from aivailable.cli.main import main
main()
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", HIDE, *arguments], capture_output=True, text=True, check=False, timeout=30, cwd=ROOT
    )


def test_planning_offline_needs_no_extra(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(dump_fleet_file(fleet(model(replicas=2)), resolved=True))
    (tmp_path / "snapshot.json").write_text(json.dumps(snapshot_document(rack())))

    done = run("plan", str(tmp_path / "fleet.toml"), "--snapshot", str(tmp_path / "snapshot.json"), "--json")

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["placements"]) == 2


def test_the_demo_says_what_to_install() -> None:
    done = run("demo", "--once")

    assert done.returncode == 2
    assert "aivailable demo needs psutil" in done.stderr
    assert "pip install 'aivailable[demo]'" in done.stderr


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"demo"}))
def test_every_other_verb_is_there(verb: str) -> None:
    assert run(verb, "--help").returncode == 0


def test_help_and_version() -> None:
    assert "Commands:" in run("--help").stdout
    versions = run("--version").stdout
    assert versions.startswith("aivailable 0.")
    for part in ("Envoy", "llama.cpp", "vLLM", "Nomad", "Consul"):
        assert part in versions
    assert run("no-such-verb").returncode == 2


def test_alone_it_tells_a_new_user_what_to_do_next() -> None:
    done = run()

    assert done.returncode == 0
    assert "aivailable demo " in done.stdout
    assert "--help" in done.stdout
