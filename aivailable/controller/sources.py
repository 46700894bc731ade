"""All kinds of sources behind one seam, and bringing their files."""

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
        if sha256 and located.sha256 != sha256:
            raise PermanentError(
                f"{source.location}: its sha256 is {located.sha256}, not {sha256}", hint="deploy again to pin it anew"
            )
        return located.path
