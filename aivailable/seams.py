"""The seams: narrow protocols to everything outside, each with a real and an embedded implementation.

They stand in one file because several rooms use each of them. Implementations live in `clients` (real) and
`embedded`; `tests/contract` runs one suite over both.

`changed` methods share one form: they return as soon as the index differs from `since`, else after `timeout_s`, and
always give the index of now. Start with 0. They may return early; callers look at the state, never at the event.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from aivailable.model.events import ClusterEvent
from aivailable.model.service import Instance
from aivailable.model.snapshot import Snapshot
from aivailable.model.source import Source


class Cluster(Protocol):
    """The scheduler that runs jobs: Nomad, or the embedded stand-in."""

    def snapshot(self) -> Snapshot:
        """Nodes, cards, free slices and replicas as they are now."""

    def submit(self, job_id: str, text: str, *, index: int | None = None) -> None:
        """Register a job given as HCL text; a job of that id that exists already is left as it is.

        With `index` only if the job is still as it was in a snapshot: the index of `Snapshot.ended`, 0 for none there.

        Raises:
            UserError: The cluster refuses the text, with its words.
            RetryableError: The cluster knows already that it has no place for it (a real one asks first), or the job
                has been registered anew, and ended, since that snapshot.
        """

    def stop(self, job_id: str, *, index: int | None = None) -> None:
        """Stop a job; an unknown id is no error. Its id can be used again; its slices, when its tasks have ended.

        With `index` only if the job is still the one of that `Replica.index`, judged by the cluster itself.

        Raises:
            RetryableError: The job has been registered anew since, and was left alone.
        """

    def set_eligibility(self, node: str, *, eligible: bool) -> None:
        """Say whether a node may be given new work; what runs there runs on. Eligible again, it drains no longer.

        Raises:
            UserError: There is no node of that name.
        """

    def drain(self, node: str, *, deadline_s: float) -> None:
        """Move everything off a node, of whatever job, and give it no more; after `deadline_s` stop what is left.

        Asked again, the deadline counts from then.

        Raises:
            UserError: There is no node of that name.
        """

    def running_on(self, node: str) -> tuple[str, ...]:
        """The ids of all jobs, ours or not, that hold something of a node, sorted; none where no node has the name."""

    def changed(self, since: int, timeout_s: float) -> int:
        """Wait until nodes, jobs or allocations differ from index `since`."""

    def events(self, limit: int) -> tuple[ClusterEvent, ...]:
        """The newest `limit` things that happened to nodes and allocations, oldest first."""

    def logs(self, job_id: str, *, tail_lines: int, follow: bool = False) -> Iterator[str]:
        """Lines of the engine task's output, the newest allocation's last `tail_lines` first, then what follows."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One value of the key-value store. `index` is the ModifyIndex for compare-and-set."""

    value: bytes
    index: int


class Lease(Protocol):
    """A lock that somebody holds, or hoped to."""

    def held(self) -> bool:
        """Whether it is held at this moment, for certain: one that could not be renewed in time is not."""


class Registry(Protocol):
    """Who is where and healthy, and the small shared state: Consul, or the embedded stand-in."""

    def instances(self, service: str) -> tuple[Instance, ...]:
        """All registered instances of a service, passing or not."""

    def services_changed(self, service: str, since: int, timeout_s: float) -> int:
        """Wait until the instances of a service or their health differ from index `since`."""

    def lost_nodes(self) -> frozenset[str]:
        """The nodes that are not heard from any more, by their names in the registry."""

    def get(self, key: str) -> KeyValue | None:
        """The value under a key, or None."""

    def keys(self, prefix: str) -> tuple[str, ...]:
        """The keys that begin with a prefix, sorted."""

    def values(self, prefix: str) -> Mapping[str, KeyValue]:
        """The values under all keys that begin with a prefix, by key."""

    def put(self, key: str, value: bytes, *, index: int | None = None, lease: Lease | None = None) -> bool:
        """Write a value; with `index` only if the key still has that ModifyIndex (0: does not exist yet).

        With `lease` only while that lease is held, judged by the store itself: a late write changes nothing.

        Returns:
            Whether it was written.
        """

    def delete(self, key: str) -> None:
        """Remove a key; an unknown one is no error."""

    def key_changed(self, key: str, since: int, timeout_s: float) -> int:
        """Wait until the value under a key differs from index `since`."""

    def lock(self, key: str, *, timeout_s: float) -> AbstractContextManager[Lease]:
        """Hold a lock, if it can be got within `timeout_s`; the lease says whether. It is lost with its holder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A model source found: where its file or folder lies, its checksum, and the revision it was pinned to.

    `sha256` is that of the one file, or of the lines `<sha256>  <name>` of its files in order of their names.
    `complete` False: only the headers are here; the files are brought to a node when a replica starts there.
    """

    path: Path
    sha256: str
    revision: str = ""
    complete: bool = True


class Hub(Protocol):
    """Where model files come from."""

    def locate(self, source: Source) -> Located:
        """Find a source and pin it.

        Raises:
            UserError: There is no such source, no access to it, or it is of a kind that cannot be used here.
            RetryableError: Where it lies cannot be reached now.
        """


class Secrets(Protocol):
    """Small secret documents by path: Nomad Variables, or a 0600 file. Paths have no dots."""

    def list(self, prefix: str) -> tuple[str, ...]:
        """The paths below a prefix, sorted."""

    def read(self, path: str) -> Mapping[str, str] | None:
        """The items at a path, or None."""

    def write(self, path: str, items: Mapping[str, str]) -> None:
        """Write the items at a path, replacing what was there."""

    def delete(self, path: str) -> None:
        """Remove a path; an unknown one is no error."""

    def changed(self, since: int, timeout_s: float) -> int:
        """Wait until any secret differs from index `since`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a service is in the mesh: its certificate with the whole chain and its key, both PEM, and its SPIFFE URI."""

    certificate: str
    key: str = field(repr=False)
    uri: str


class Certificates(Protocol):
    """The certificate authority of the mesh: Consul Connect. The embedded cluster has none: its engines speak plain."""

    def identity(self, service: str) -> Identity:
        """What a service shows to others; it is renewed before it ends.

        Raises:
            UserError: The mesh is off.
        """

    def roots(self) -> str:
        """The certificates to trust, PEM."""

    def identity_changed(self, service: str, since: int, timeout_s: float) -> int:
        """Wait until the identity of a service differs from index `since`."""

    def roots_changed(self, since: int, timeout_s: float) -> int:
        """Wait until the roots differ from index `since`."""


class Intentions(Protocol):
    """Who may open connections to whom in the mesh: Consul's intentions. `*` as source is anybody else."""

    def set(self, source: str, destination: str, *, allow: bool) -> bool:
        """Make it so.

        Returns:
            Whether anything had to be changed.
        """

    def allowed(self, source: str, destination: str) -> bool:
        """What would be said to a connection now."""
