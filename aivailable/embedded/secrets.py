"""The embedded stand-in for Nomad's variables: one file that only its owner can read."""

from collections.abc import Mapping
from pathlib import Path

from aivailable.embedded.state import StateFiles
from aivailable.errors import UserError


class EmbeddedSecrets:
    """Secrets of one state directory; see `aivailable.seams.Secrets`."""

    def __init__(self, state: Path) -> None:
        self._document = StateFiles(state).secrets

    def list(self, prefix: str) -> tuple[str, ...]:
        """The paths below a prefix, sorted."""
        _, value = self._document.read()
        return tuple(sorted(path for path in value or {} if path.startswith(f"{prefix}/")))

    def read(self, path: str) -> Mapping[str, str] | None:
        """The items at a path, or None."""
        _, value = self._document.read()
        items: dict[str, str] | None = (value or {}).get(path)
        return items

    def write(self, path: str, items: Mapping[str, str]) -> None:
        """Write the items at a path, replacing what was there.

        Raises:
            UserError: A path with a dot; Nomad refuses those.
        """
        if "." in path:
            raise UserError(f"secret path {path!r}: Nomad's variables allow no dots", hint="choose another name")
        self._document.update(lambda value: {**(value or {}), path: dict(items)})

    def delete(self, path: str) -> None:
        """Remove a path; an unknown one is no error."""
        self._document.update(lambda value: {known: items for known, items in (value or {}).items() if known != path})

    def changed(self, since: int, timeout_s: float) -> int:
        """Wait until any secret differs from index `since`."""
        return self._document.wait(since, timeout_s)
