"""The house rules that no linter knows: sizes, rooms that say what they hold, imports without effects."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "aivailable").rglob("*.py"))
ALL_PYTHON = [*SOURCES, *(p for folder in ("tests", "bench", "tools") for p in sorted((ROOT / folder).rglob("*.py")))]
SCRIPTS = [ROOT / ".ci/run", *sorted(ROOT.glob("tests/*.sh")), *sorted(ROOT.glob("deploy/**/*.sh"))]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", ALL_PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_over_700_lines_and_no_function_over_70(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 700
    long = [f.name for f in functions(path) if (f.end_lineno or f.lineno) - f.lineno + 1 > 70]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_imported_inside_a_function(path: Path) -> None:
    inside = [n.lineno for f in functions(path) for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert inside == []


@pytest.mark.parametrize("room", sorted((ROOT / "aivailable").glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_every_room_says_what_belongs_there_and_what_does_not(room: Path) -> None:
    if room.parent.name == "_shipped":
        pytest.skip("data files of a wheel")
    text = ast.get_docstring(ast.parse(room.read_text())) or ""
    assert "Belongs here" in text or "belongs here" in text
    assert "Does not" in text or "does not" in text


def test_broad_excepts_are_few_and_explained() -> None:
    broad = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "except Exception" in line or "except BaseException" in line
    ]
    assert len(broad) <= 6, broad


def test_the_help_of_the_command_line_loads_no_verb() -> None:
    code = "import sys, aivailable.cli.main; print(sorted(m for m in sys.modules if m.startswith('aivailable.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "['aivailable.cli', 'aivailable.cli.main', 'aivailable.errors']"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (tests/setup.sh)")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_shell_scripts_pass_shellcheck(script: Path) -> None:
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout
