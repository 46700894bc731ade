"""The embedded stand-in for Nomad, as any process sees it: jobs to submit, a snapshot to read, nodes to power off."""

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aivailable.documents import load_snapshot
from aivailable.embedded.jobspec import parse_job
from aivailable.embedded.state import StateFiles, is_running
from aivailable.errors import RetryableError, UserError
from aivailable.model.events import ClusterEvent
from aivailable.model.names import nearest
from aivailable.model.snapshot import Snapshot

LOG_POLL_S = 0.1


class EmbeddedCluster:
    """One state directory as a cluster; see `aivailable.seams.Cluster`. The agent carries out what is written here."""

    def __init__(self, state: Path) -> None:
        self._files = StateFiles(state)

    def snapshot(self) -> Snapshot:
        """Nodes, cards, free slices and replicas as the agent last saw them."""
        published = self._published()
        return load_snapshot(json.dumps(published.get("snapshot", {})).encode(), where=str(self._files.cluster.path))

    def submit(self, job_id: str, text: str, *, index: int | None = None) -> None:
        """Register a job given as HCL text; a job of that id that exists already is left as it is.

        Jobs that ended are not remembered, so `index` changes nothing. Nothing is late here: who holds the file lock
        holds it as long as its process lives, standing still or not.

        Raises:
            UserError: Not HCL, or something the embedded cluster does not imitate.
        """
        del index
        job = parse_job(text)
        if job.id != job_id:
            raise UserError(f"job {job_id}: the text describes {job.id}", hint="submit it under its own id")
        self._files.jobs.update(
            lambda jobs: {job_id: {"text": text, "index": self._files.jobs.index() + 1}, **(jobs or {})}
        )

    def stop(self, job_id: str, *, index: int | None = None) -> None:
        """Stop a job and purge it; an unknown id is no error. With `index` only while that is the job's.

        Raises:
            RetryableError: The job has been registered anew since.
        """

        def without(jobs: dict[str, Any] | None) -> dict[str, Any]:
            known = dict(jobs or {})
            if job_id in known and index not in (None, known[job_id]["index"]):
                raise RetryableError(
                    f"job {job_id} was registered anew since it was looked at",
                    hint="it is planned anew with that change",
                )
            known.pop(job_id, None)
            return known

        self._files.jobs.update(without)

    def changed(self, since: int, timeout_s: float) -> int:
        """Wait until nodes, jobs or allocations differ from index `since`."""
        return self._files.cluster.wait(since, timeout_s)

    def events(self, limit: int) -> tuple[ClusterEvent, ...]:
        """The newest `limit` things that happened, oldest first."""
        return tuple(ClusterEvent(**event) for event in self._published().get("events", [])[-limit:])

    def logs(self, job_id: str, *, tail_lines: int, follow: bool = False) -> Iterator[str]:
        """The last lines of the engine task's output, then with `follow` what comes, until its allocation has ended."""
        path = self._log(job_id)
        if path is None:
            return
        with path.open(errors="replace", newline="\n") as file:
            last = deque(file, maxlen=tail_lines)
            part = last.pop() if last and not last[-1].endswith("\n") else ""
            yield from (line.rstrip("\n") for line in last)
            growing = follow
            while growing:
                growing = is_running(self._files.root) and self._log(job_id) == path
                for piece in file:
                    part += piece
                    if part.endswith("\n"):
                        yield part.rstrip("\n")
                        part = ""
                if growing:
                    time.sleep(LOG_POLL_S)
            if part:
                yield part

    def set_node_down(self, node: str, *, down: bool) -> None:
        """Pull a node's power cord, or plug it in again.

        Raises:
            UserError: No such node, with the nearest name.
        """
        self._mark(node, {"down": down})

    def set_eligibility(self, node: str, *, eligible: bool) -> None:
        """Say whether a node may be given new work; see `aivailable.seams.Cluster`.

        Raises:
            UserError: No such node, with the nearest name.
        """
        self._mark(node, {"ineligible": False, "drain_until_s": 0.0} if eligible else {"ineligible": True})

    def drain(self, node: str, *, deadline_s: float) -> None:
        """Move everything off a node and give it no more; see `aivailable.seams.Cluster`.

        Raises:
            UserError: No such node, with the nearest name.
        """
        self._mark(node, {"ineligible": True, "drain_until_s": time.time() + deadline_s})

    def running_on(self, node: str) -> tuple[str, ...]:
        """The ids of the jobs that hold something of a node, sorted."""
        return tuple(sorted(job for where, job in self._published().get("running", []) if where == node))

    def _mark(self, node: str, marks: Mapping[str, bool | float]) -> None:
        names = [known.name for known in self.snapshot().nodes]
        if node not in names:
            raise UserError(f"there is no node {node!r}", hint=nearest(node, names))
        self._files.marks.update(
            lambda known: {**(known or {}), node: {**(known or {}).get(node, {}), **marks}},
        )

    def _published(self) -> dict[str, Any]:
        _, value = self._files.cluster.read()
        return value or {}

    def _log(self, job_id: str) -> Path | None:
        path = self._published().get("logs", {}).get(job_id)
        return Path(path) if path and Path(path).is_file() else None
