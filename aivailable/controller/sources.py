"""All kinds of sources behind one seam, and bringing their files."""

import os
from dataclasses import replace
from pathlib import Path

from aivailable.clients.hub import ModelHub
from aivailable.embedded.sources import LocalSources
from aivailable.errors import PermanentError, UserError
from aivailable.model.source import Source, SourceKind
from aivailable.model.transfer import Tell, tell_nobody
from aivailable.seams import Located
from aivailable.settings import Settings

_REMOTE = (SourceKind.HUB, SourceKind.HTTPS)


class Sources:
    """The hub of a machine with a network: local files, Python packages, `hf:` and `https:`."""

    def __init__(self, settings: Settings, *, progress: Tell = tell_nobody) -> None:
        self._progress = progress
        self._local = LocalSources(progress=progress)
        self._models = settings.models_folder
        self._remote = ModelHub(settings)

    def locate(self, source: Source) -> Located:
        """Find a source and pin it; see `aivailable.seams.Hub`."""
        if source.kind in _REMOTE:
            return self._remote.locate(source, progress=self._progress)
        return self._local.locate(self._here(source))

    def _here(self, source: Source) -> Source:
        """A `node:` source as the local path it has on this machine: below the node's model directory.

        Raises:
            UserError: The path leads out of that directory.
        """
        if source.kind is not SourceKind.NODE:
            return source
        path = (self._models / source.location).resolve()
        if not path.is_relative_to(self._models.resolve()):
            raise UserError(f"node:{source.location} leads out of {self._models}", hint="give a path below it")
        return Source(kind=SourceKind.LOCAL, location=str(path))

    def bring(self, source: Source, into: Path, *, sha256: str = "") -> Path:
        """Have all files of a source on this machine and verified; remote ones lie in `into/<sha256>/`.

        Returns:
            The model's path: a file, or a folder with `config.json`.

        Raises:
            PermanentError: The files are not those that were promised.
            RetryableError: Where they lie cannot be reached; what came is kept.
        """
        if source.kind in _REMOTE:
            return self._remote.bring(source, into, sha256=sha256, progress=self._progress)
        located = self._local.locate(self._here(source))
        if source.kind is SourceKind.PACKAGE and sha256 and located.sha256 == sha256:
            return _linked(located.path, into / sha256)
        if sha256 and located.sha256 != sha256:
            raise PermanentError(
                f"{source.location}: its sha256 is {located.sha256}, not {sha256}", hint="deploy again to pin it anew"
            )
        return located.path


class ClusterSources:
    """The hub of a real cluster: what is resolved here is brought by each node for itself."""

    def __init__(self, settings: Settings, *, progress: Tell = tell_nobody) -> None:
        self._sources = Sources(settings, progress=progress)

    def locate(self, source: Source) -> Located:
        """Find a source and pin it; see `aivailable.seams.Hub`.

        Raises:
            UserError: It lies on this machine only, or on the nodes only.
        """
        if source.kind is SourceKind.LOCAL:
            raise UserError(
                f"{source.location} lies on this machine, not on the nodes",
                hint="put it below the nodes' model directory and write node:PATH, or give hf:… or https:…",
            )
        try:
            located = self._sources.locate(source)
        except UserError as error:
            if source.kind is not SourceKind.NODE:
                raise
            raise UserError(
                f"node:{source.location} cannot be read here: {error.message}",
                hint="deploy from a machine that has the same file below AIVAILABLE_MODELS",
            ) from error
        return replace(located, complete=False)


def _linked(path: Path, folder: Path) -> Path:
    """A link to a file that is installed with a Python package, where a fetched one would lie."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / path.name
    if not link.is_symlink() or link.readlink() != path:
        new = folder / f".{path.name}.{os.getpid()}"
        new.symlink_to(path)
        new.replace(link)
    return link
