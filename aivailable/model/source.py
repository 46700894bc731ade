"""Where the weights of a variant come from, as a parsed source string."""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote, urlsplit


class SourceKind(StrEnum):
    """The scheme of a source string."""

    HUB = "hf"
    HTTPS = "https"
    NODE = "node"
    PACKAGE = "package"
    LOCAL = "local"


FETCHED = frozenset({SourceKind.HUB, SourceKind.HTTPS, SourceKind.PACKAGE})
"""Kinds whose files are brought to a node, into a folder named by their checksum."""

_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[^:]+))?")
_PACKAGE = re.compile(r"package:(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<file>.+)")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source, taken apart.

    `location` is the repository (`hf`), the whole address (`https`), a path (`node`, `local`) or the distribution
    name (`package`); `file` a file within it, `revision` a hub revision; both empty when not given.
    """

    kind: SourceKind
    location: str
    file: str = ""
    revision: str = ""


def parse_source(text: str) -> Source:
    """Take a source string apart.

    `hf:org/name[@revision][:file]`, `https://…`, `node:PATH`, `package:NAME/FILE`, else a local path.

    Raises:
        ValueError: The text has a scheme that is not known, or not its form.
    """
    scheme = _SCHEME.match(text)
    kind = scheme["scheme"] if scheme else SourceKind.LOCAL
    if kind == SourceKind.HUB and (found := _HUB.fullmatch(text)):
        return Source(
            kind=SourceKind.HUB,
            location=found["repo"],
            file=found["file"] or "",
            revision=found["revision"] or "",
        )
    if kind == SourceKind.PACKAGE and (found := _PACKAGE.fullmatch(text)):
        return Source(kind=SourceKind.PACKAGE, location=found["package"], file=found["file"])
    if kind == SourceKind.HTTPS and re.match(r"https://[^/\s]+/\S+", text):
        return Source(kind=SourceKind.HTTPS, location=text)
    if kind == SourceKind.NODE and len(text) > len("node:"):
        return Source(kind=SourceKind.NODE, location=text.removeprefix("node:"))
    if kind == SourceKind.LOCAL and text.strip():
        return Source(kind=SourceKind.LOCAL, location=text)
    raise ValueError("expected hf:ORG/NAME[@REVISION][:FILE], https://…, node:PATH, package:NAME/FILE or a local path")


def fetched_name(source: Source) -> str:
    """The name of the one file of a fetched source within its folder; empty where the folder is the model."""
    if source.kind is SourceKind.HTTPS:
        return unquote(urlsplit(source.location).path).rpartition("/")[2]
    if source.kind is SourceKind.PACKAGE:
        return source.file.rpartition("/")[2]
    return source.file
