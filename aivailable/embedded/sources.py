"""Model files on this machine: local paths, and files inside installed Python packages."""

import hashlib
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from aivailable.errors import UserError
from aivailable.model.source import Source, SourceKind
from aivailable.model.transfer import Tell, Transfer, tell_nobody
from aivailable.seams import Located

PIECE_BYTES = 128 * 1024 * 1024
"""Read at once; under half a second of hashing, so that what tells how far it is stays alive."""

_FOLDER_FILES = ("*.safetensors", "*.json")


class LocalSources:
    """The hub of one machine. It has no network: sources that need one are refused with what to do instead."""

    def __init__(self, *, progress: Tell = tell_nobody) -> None:
        self._progress = progress

    def locate(self, source: Source) -> Located:
        """Find a local or `package:` source and compute its checksum.

        Raises:
            UserError: No such file or package, or a source that lies elsewhere.
        """
        if source.kind is SourceKind.LOCAL:
            return _located(Path(source.location), self._progress, f"{source.location}: no such file or folder")
        if source.kind is SourceKind.PACKAGE:
            return _located(_in_package(source), self._progress, f"package {source.location} has no file {source.file}")
        raise UserError(
            f"{source.kind}: sources cannot be used on the embedded cluster",
            hint="download the model and give its local path",
        )


def _in_package(source: Source) -> Path:
    try:
        package = distribution(source.location)
    except PackageNotFoundError as error:
        raise UserError(
            f"package {source.location} is not installed", hint=f"pip install --no-deps {source.location}"
        ) from error
    for file in package.files or ():
        if str(file) == source.file or str(file).endswith(f"/{source.file}"):
            return Path(str(package.locate_file(file)))
    return Path(str(package.locate_file(source.file)))


def _located(path: Path, progress: Tell, missing: str) -> Located:
    if path.is_file():
        return Located(path=path.resolve(), sha256=_sha256(path, progress))
    if path.is_dir():
        files = sorted(file for pattern in _FOLDER_FILES for file in path.glob(pattern))
        lines = "".join(f"{_sha256(file, progress)}  {file.name}\n" for file in files)
        return Located(path=path.resolve(), sha256=hashlib.sha256(lines.encode()).hexdigest())
    raise UserError(missing, hint="check the source; in a fleet file, local paths are relative to that file")


def _sha256(path: Path, progress: Tell) -> str:
    """The checksum of a file; of large ones it tells how far it is."""
    size, done, begun = path.stat().st_size, 0, time.monotonic()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            done += len(piece)
            rate = done / max(time.monotonic() - begun, 1e-6)
            if size > PIECE_BYTES:
                progress(Transfer(name=path.name, done_bytes=done, size_bytes=size, bytes_per_s=rate))
    return digest.hexdigest()
