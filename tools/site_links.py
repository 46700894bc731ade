"""A hook of mkdocs: pages may link to files of the repository that lie outside docs/, as a code host shows them.

In the site such files lie below `files/`, so that a link works in both places and the site needs no other host.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<=\]\()([^)#\s]+)")
BELOW = "files"


def outside(page: str, target: str) -> str:
    """The path within the repository of what a page of docs/ links to; empty where that lies in docs/ or is no file."""
    if "://" in target or target.startswith("/"):
        return ""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return "" if path.startswith(("docs/", "../")) or not (ROOT / path).is_file() else path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to."""
    for page in files.documentation_pages():
        for target in LINK.findall(page.content_string):
            path = outside(page.src_uri, target)
            name = f"{BELOW}/{path}"
            if path and files.get_file_from_path(name) is None:
                source = str(ROOT / path)
                level = InclusionLevel.NOT_IN_NAV
                files.append(File.generated(config, name, abs_src_path=source, inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead those links there."""
    del config, files
    here = page.file.src_uri

    def led(found: re.Match[str]) -> str:
        path = outside(here, found[1])
        return posixpath.relpath(f"{BELOW}/{path}", posixpath.dirname(here) or ".") if path else found[1]

    return LINK.sub(led, markdown)
