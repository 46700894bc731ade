"""Files over HTTPS: a piece by range request, or whole with resume, checked against size and sha256."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from aivailable.errors import AivailableError, PermanentError, RetryableError, UserError
from aivailable.model.transfer import Tell, Transfer

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
ATTEMPTS_WITHOUT_PROGRESS = 3
"""How often in a row a transfer may be cut without a new byte before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """One file elsewhere. `size_bytes` and `sha256` are what its index promised, None and empty where it did not."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    size_bytes: int | None = None
    sha256: str = ""


def read_range(remote: Remote, start: int, length: int) -> bytes:
    """`length` bytes from `start`; fewer only where the file ends.

    Raises:
        RetryableError: The server cannot be reached, or cut the transfer.
        UserError: It refuses the file.
    """
    headers = {**remote.headers, "range": f"bytes={start}-{start + length - 1}"}
    with _opened(remote, headers) as response:
        skip = 0 if response.status_code == httpx2.codes.PARTIAL_CONTENT else start  # a server may ignore ranges
        data = b""
        for piece in response.iter_raw():
            data += piece
            if len(data) >= skip + length:
                break
    found = data[skip : skip + length]
    promised = length if remote.size_bytes is None else min(length, remote.size_bytes - start)
    if len(found) < promised and remote.size_bytes is not None:
        raise RetryableError(
            f"{remote.name}: the server sent {len(found)} of {promised} bytes",
            hint="try again; the file may be damaged",
        )
    return found


def size_of(remote: Remote) -> int | None:
    """The size the server promises, None where it says nothing."""
    with _opened(remote, {**remote.headers, "range": "bytes=0-0"}) as response:
        total = response.headers.get("content-range", "").rpartition("/")[2]
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            total = response.headers.get("content-length", "")
    return int(total) if total.isdigit() else None


def download(remote: Remote, target: Path, progress: Tell) -> str:
    """Bring a file whole; a cut transfer goes on where it stopped, also in a later call.

    Args:
        remote: The file.
        target: Where it shall lie; it appears there only when it is whole and true.
        progress: Told now and then how far it is.

    Returns:
        Its sha256.

    Raises:
        RetryableError: The server cannot be reached or keeps cutting; what came is kept.
        PermanentError: Size or sha256 are not what was promised; what came is thrown away.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        if remote.size_bytes is not None and before >= remote.size_bytes:
            break
        try:
            _append(remote, part, progress)
            if remote.size_bytes is None:
                break
        except RetryableError:
            now = part.stat().st_size if part.exists() else 0
            fruitless = 0 if now > before else fruitless + 1
            if fruitless >= ATTEMPTS_WITHOUT_PROGRESS or remote.size_bytes is None:
                raise
    sha256 = _checked(remote, part)
    part.replace(target)
    return sha256


def _append(remote: Remote, part: Path, progress: Tell) -> None:
    """One request: append what comes to the partial file."""
    have = part.stat().st_size if part.exists() and remote.size_bytes is not None else 0
    headers = {**remote.headers, **({"range": f"bytes={have}-"} if have else {})}
    with _opened(remote, headers) as response:
        resumed = response.status_code == httpx2.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        begun, new = time.monotonic(), 0
        with part.open("ab" if resumed else "wb") as file:
            for piece in response.iter_raw():
                file.write(piece)
                done, new = done + len(piece), new + len(piece)
                rate = new / max(time.monotonic() - begun, 1e-6)
                progress(Transfer(name=remote.name, done_bytes=done, size_bytes=remote.size_bytes, bytes_per_s=rate))
                if remote.size_bytes is not None and done > remote.size_bytes:
                    break
    if remote.size_bytes is not None and done < remote.size_bytes:
        raise RetryableError(
            f"{remote.name}: the transfer was cut after {done} bytes", hint="try again; it goes on there"
        )


def _checked(remote: Remote, part: Path) -> str:
    size = part.stat().st_size
    with part.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    wrong = ""
    if remote.size_bytes is not None and size != remote.size_bytes:
        wrong = f"{size} bytes came, {remote.size_bytes} were promised"
    elif remote.sha256 and sha256 != remote.sha256:
        wrong = f"its sha256 is {sha256}, {remote.sha256} was promised"
    if wrong:
        part.unlink()
        raise PermanentError(f"{remote.name}: {wrong}; it was thrown away", hint="the file at the source has changed")
    return sha256


@contextmanager
def _opened(remote: Remote, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    asked = {"accept-encoding": "identity", **headers}
    try:
        with httpx2.stream("GET", remote.url, headers=asked, timeout=timeout, follow_redirects=True) as response:
            if not response.is_success:
                raise _refused(remote, response.status_code)
            yield response
    except httpx2.TransportError as error:
        raise RetryableError(
            f"{remote.name}: {error or type(error).__name__}", hint="check the network, then try again"
        ) from error


def _refused(remote: Remote, status: int) -> AivailableError:
    if status in {401, 403}:
        return UserError(f"{remote.name}: the server answered {status}: no access", hint="log in, or check the address")
    if status in {404, 410}:
        return UserError(f"{remote.name}: the server answered {status}: no such file", hint="check the address")
    return RetryableError(f"{remote.name}: the server answered {status}", hint="try again later")
