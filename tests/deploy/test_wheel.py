"""The wheel has everything that runs: templates, Envoy's documents, examples; the list of licences has its rows."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT

HATCH = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
DATA = tuple(HATCH["wheel"]["force-include"])
"""The folders of data that a wheel takes along."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by hatchling itself, the build back end that pip would call."""
    into = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(into)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (file,) = into.glob("aivailable-*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_holds_every_data_file(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for folder in DATA:
        files = {f"aivailable/_shipped/{folder}/{path.name}" for path in (ROOT / folder).iterdir() if path.is_file()}
        assert files
        assert files <= names, files - names


def test_the_wheel_holds_every_module_and_no_test(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "aivailable").rglob("*.py")}
    assert modules <= names
    data = {str(path.relative_to(ROOT)) for path in (ROOT / "aivailable").rglob("*.csv")}
    assert data <= names
    assert not [name for name in names if name.startswith(("tests/", "bench/"))]


def test_the_wheel_names_its_licence_and_programs(wheel: zipfile.ZipFile) -> None:
    info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
    assert "License-Expression: Apache-2.0" in wheel.read(f"{info}/METADATA").decode()
    assert wheel.read(f"{info}/licenses/LICENSE")
    assert "aivailable = aivailable.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_everything_that_pyproject_names_is_in_the_list_of_licences() -> None:
    check = [sys.executable, str(ROOT / "tools" / "licences.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_package_without_a_row_is_found(tmp_path: Path) -> None:
    """By a copy of the tool beside a page that lacks one."""
    for name in ("tools/licences.py", "pyproject.toml", "docs/licences.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    page = tmp_path / "docs/licences.md"
    page.write_text("\n".join(line for line in page.read_text().splitlines() if not line.startswith("| [click]")))
    check = [sys.executable, str(tmp_path / "tools/licences.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "no row for click" in done.stdout) == (1, True), done.stdout + done.stderr


def test_an_image_is_made_of_what_the_wheel_is_made_of() -> None:
    copied = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    sources = {word for words in copied for word in words if not word.startswith(("--", "/"))}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == allowed
    assert set(DATA) <= sources
    assert all((ROOT / source).exists() for source in sources)
