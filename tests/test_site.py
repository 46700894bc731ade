"""The documentation as a site: built without a network and without a warning, nothing loaded from elsewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.processes import ROOT

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="mkdocs-material is not installed"),
    pytest.mark.timeout(120),
]

NO_NETWORK = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "HTTP", "HTTPS")}
"""Whatever asks for something is refused at once."""
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "use": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        env={**os.environ, **NO_NETWORK, "NO_MKDOCS_2_WARNING": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    # Not --quiet: that silences the warnings before they are counted, and with them --strict.
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


class Parts(HTMLParser):
    """What a page makes a browser load, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADED and (address := given.get(LOADED[tag])):
            self.loaded.append(address)
        if tag == "a" and (address := given.get("href")):
            self.links.append(address)


def test_every_page_is_in_the_navigation(site: Path) -> None:
    shown = {(site / link.partition("#")[0]).resolve() for link in Parts((site / "index.html").read_text()).links}
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]

    assert [str(page) for page in pages if (site / page.with_suffix(".html")).resolve() not in shown] == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages, styles = sorted(site.rglob("*.html")), sorted(site.rglob("*.css"))
    loaded = {(page.name, address) for page in pages for address in Parts(page.read_text()).loaded}
    loaded |= {
        (style.name, address)
        for style in styles
        for address in re.findall(r"""(?:url\(|@import )["']?([^"')]+)""", style.read_text())
    }

    assert len(pages) > 40
    assert styles
    assert [found for found in loaded if re.match(r"([a-z]+:)?//", found[1])] == []
    assert [page.name for page in pages if 'class="mermaid"' in page.read_text()] == [], "its script would be fetched"


def test_files_outside_docs_that_pages_link_to_are_there(site: Path) -> None:
    links = Parts((site / "install.html").read_text()).links

    (found,) = [link for link in links if "policies" in link]
    assert (site / found).is_file()


def test_what_is_generated_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "reference.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
