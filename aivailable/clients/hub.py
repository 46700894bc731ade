"""Model sources that lie elsewhere: `hf:` repositories and `https:` files."""

import fcntl
import fnmatch
import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from httpx2 import HTTPError
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # public, but not re-exported by name

from aivailable.clients.downloads import Remote, download, read_range, size_of
from aivailable.errors import AivailableError, PermanentError, RetryableError, UserError
from aivailable.model.source import Source, SourceKind
from aivailable.model.transfer import Tell, tell_nobody
from aivailable.seams import Located
from aivailable.settings import Settings
from aivailable.vram.gguf_header import CutOffError, open_header

METADATA_TIMEOUT_S = 20.0
SAFETENSORS_HEADER_BYTES_MAX = 100 * 1024 * 1024
"""The format's own limit; a file that claims more is refused before anything is read."""

GGUF_HEADER_START_BYTES = 4 * 1024 * 1024
GGUF_HEADER_BYTES_MAX = 256 * 1024 * 1024
"""Headers hold the tokenizer: 1.8 MiB for SmolLM2, about 10 for large vocabularies."""

JSON_BYTES_MAX = 16 * 1024 * 1024

COMPLETE = ".complete"
"""Written last into a folder whose files are all there and true."""

_SPLIT = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files a source consists of, pinned. `revision` is the hub's commit, empty for `https:`."""

    revision: str
    files: tuple[Remote, ...]

    @property
    def sha256(self) -> str:
        """That of the one file, or of the lines `<sha256>  <name>` of those that have one."""
        known = [file for file in self.files if file.sha256]
        if len(self.files) == 1:
            return self.files[0].sha256
        lines = "".join(f"{file.sha256}  {file.name}\n" for file in known)
        return hashlib.sha256(lines.encode()).hexdigest()


class ModelHub:
    """Finds remote sources, reads their headers, brings their files into one folder."""

    def __init__(self, settings: Settings) -> None:
        self._endpoint = settings.hub_endpoint or None
        self._models = settings.models_folder

    def locate(self, source: Source, *, progress: Tell = tell_nobody) -> Located:
        """Pin a source and bring its headers; `https:` files, whose checksum nobody promises, are brought whole.

        Raises:
            UserError: No such repository, revision or file, or no access to it.
            RetryableError: The hub cannot be reached.
        """
        listing = self.listing(source)
        if source.kind is SourceKind.HTTPS:
            path = self.bring(source, self._models, progress=progress)
            return Located(path=path, sha256=path.parent.name)
        folder = self._models / ".headers" / listing.sha256
        for file in listing.files:
            _bring_header(file, folder / file.name)
        path = folder / listing.files[0].name if len(listing.files) == 1 or _is_gguf(listing) else folder
        return Located(path=path, sha256=listing.sha256, revision=listing.revision, complete=False)

    def listing(self, source: Source) -> Listing:
        """The files of a source with sizes and checksums.

        Raises:
            UserError: No such repository, revision or file, or no access to it.
            RetryableError: The hub cannot be reached.
        """
        if source.kind is SourceKind.HTTPS:
            name = unquote(Path(urlparse(source.location).path).name) or "model"
            remote = Remote(name=name, url=source.location)
            return Listing(revision="", files=(Remote(name=name, url=remote.url, size_bytes=size_of(remote)),))
        if source.kind is not SourceKind.HUB:
            raise UserError(f"{source.kind}: sources lie on no hub", hint="use hf: or https:")
        return self._repository(source)

    def bring(self, source: Source, into: Path, *, sha256: str = "", progress: Tell) -> Path:
        """Bring all files of a source into `into/<sha256>/`; gives the model's path there.

        What is there already is not asked for again: with `sha256` known this works offline.

        Raises:
            PermanentError: The files are not those that were promised.
            RetryableError: The hub cannot be reached; what came is kept.
        """
        if sha256 and (path := brought(into / sha256)):
            return path
        into.mkdir(parents=True, exist_ok=True)
        with (into / ".lock").open("w") as lock:  # two replicas on one node must not write one file at once
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._bring(source, into, sha256, progress)

    def _bring(self, source: Source, into: Path, sha256: str, progress: Tell) -> Path:
        if sha256 and (path := brought(into / sha256)):
            return path
        listing = self.listing(source)
        if source.kind is SourceKind.HTTPS:
            return _bring_unsigned(listing.files[0], into, sha256, progress)
        if sha256 and listing.sha256 != sha256:
            raise PermanentError(
                f"{source.location}: its files are not those of the plan any more", hint="deploy again to pin them anew"
            )
        folder = into / listing.sha256
        for file in listing.files:
            if not (folder / file.name).is_file():
                download(file, folder / file.name, progress)
        (folder / COMPLETE).touch()
        return brought(folder) or folder

    def _repository(self, source: Source) -> Listing:
        try:
            info = HfApi(endpoint=self._endpoint).model_info(
                source.location, revision=source.revision or None, files_metadata=True, timeout=METADATA_TIMEOUT_S
            )
        except (HTTPError, HFValidationError) as error:
            raise _explained(source, error) from error
        sizes = {s.rfilename: (s.size, s.lfs.sha256 if s.lfs else "") for s in info.siblings or ()}
        revision = info.sha or source.revision
        headers = build_hf_headers()
        return Listing(
            revision=revision,
            files=tuple(
                Remote(
                    name=name,
                    url=hf_hub_url(source.location, name, revision=revision, endpoint=self._endpoint),
                    headers=headers,
                    size_bytes=sizes[name][0],
                    sha256=sizes[name][1],
                )
                for name in _chosen(source, sorted(sizes))
            ),
        )


def brought(folder: Path) -> Path | None:
    """The model's path in a folder that was brought whole: its (first) GGUF file, else the folder; None otherwise."""
    if not (folder / COMPLETE).exists():
        return None
    return next(iter(sorted(folder.rglob("*.gguf"))), folder)


def _bring_unsigned(file: Remote, into: Path, sha256: str, progress: Tell) -> Path:
    """A file without a promised checksum: brought first, then filed under the one it has."""
    incoming = into / ".incoming" / hashlib.sha256(file.url.encode()).hexdigest() / file.name
    expected = Remote(name=file.name, url=file.url, size_bytes=file.size_bytes, sha256=sha256)
    found = download(expected, incoming, progress)
    folder = into / found
    folder.mkdir(parents=True, exist_ok=True)
    incoming.replace(folder / file.name)
    (folder / COMPLETE).touch()
    return folder / file.name


def _chosen(source: Source, names: list[str]) -> list[str]:
    """The files of a repository that make the model: the named GGUF with its parts, or safetensors with configuration.

    Raises:
        UserError: There is no such file, or nothing that an engine runs.
    """
    if source.file:
        if source.file not in names:
            there = ", ".join(name for name in names if name.endswith(".gguf")) or "none"
            raise UserError(f"{source.location} has no file {source.file}", hint=f"its GGUF files: {there}")
        split = _SPLIT.search(source.file)
        if split is None:
            return [source.file]
        pattern = f"{source.file[: split.start()]}-?????-of-{split[1]}.gguf"
        return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    weights = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    if weights and "config.json" in names:
        extra = [n for n in names if "/" not in n and n.endswith((".json", ".txt", ".model", ".jinja"))]
        return ["config.json", *weights, *(name for name in extra if name != "config.json")]
    ggufs = [name for name in names if name.endswith(".gguf")]
    hint = f"name one of its files: {', '.join(ggufs)}" if ggufs else "it needs config.json and .safetensors, or .gguf"
    raise UserError(f"{source.location} holds no safetensors model", hint=hint)


def _is_gguf(listing: Listing) -> bool:
    return listing.files[0].name.endswith(".gguf")


def _bring_header(file: Remote, target: Path) -> None:
    """A sparse stand-in for the file: its true size, and its header where a profile is read from it."""
    size = file.size_bytes or 0
    if target.is_file() and target.stat().st_size == size:
        return
    if file.name.endswith(".gguf"):
        _bring_gguf_header(file, target)
    elif file.name.endswith(".safetensors"):
        _write_sparse(target, _safetensors_header(file), size)
    elif file.name.endswith(".json") and size <= JSON_BYTES_MAX:
        _write_sparse(target, read_range(file, 0, size), size)


def _bring_gguf_header(file: Remote, target: Path) -> None:
    """A GGUF header does not say how long it is: more is asked for until it reads.

    Raises:
        UserError: It still does not read when all that a header can be is there.
    """
    size = file.size_bytes or 0
    part = target.with_name(f".{target.name}.part")
    data = b""
    while True:
        wanted = min(size, GGUF_HEADER_BYTES_MAX, max(GGUF_HEADER_START_BYTES, 4 * len(data)))
        data += read_range(file, len(data), wanted - len(data))
        _write_sparse(part, data, size)
        try:
            open_header(part)
        except CutOffError as error:
            if len(data) >= min(size, GGUF_HEADER_BYTES_MAX):
                part.unlink()
                raise UserError(f"{file.name}: {error.message}", hint=error.hint) from error
        else:
            part.replace(target)
            return


def _write_sparse(target: Path, head: bytes, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as opened:
        opened.write(head)
        opened.truncate(size)


def _safetensors_header(file: Remote) -> bytes:
    prefix = read_range(file, 0, 8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 0 < length <= min(SAFETENSORS_HEADER_BYTES_MAX, (file.size_bytes or 0) - 8):
        raise UserError(
            f"{file.name}: it claims a header of {length} bytes", hint="the file is damaged or no safetensors file"
        )
    return prefix + read_range(file, 8, length)


def _explained(source: Source, error: Exception) -> AivailableError:
    name = source.location
    if isinstance(error, GatedRepoError):
        return UserError(
            f"{name} is gated: its owner asks you to agree to terms first",
            hint=f"agree on the page of {name}, then set HF_TOKEN to a token of yours",
        )
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"{name} has no revision {source.revision}", hint="leave @REVISION out, or check it")
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return UserError(
            f"there is no repository {name}, or it is private", hint="check the name; for a private one set HF_TOKEN"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = f"answered {status}" if status else "cannot be reached"
    return RetryableError(f"the hub {said} for {name}", hint="check the network, then try again")
