"""A real Nomad behind the seam `Cluster`, and its variables behind the seam `Secrets`."""

import json
import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import quote

from aivailable.clients.nomad_allocations import ENGINE_TASK, FETCH_TASK, Document, FailedTask, newest_failure
from aivailable.clients.nomad_api import TIMEOUT_S, NomadApi, QueryValue
from aivailable.clients.nomad_events import EventWatch
from aivailable.clients.nomad_nodes import NomadNodes
from aivailable.clients.nomad_snapshot import NomadReader, Reading
from aivailable.clients.nomad_views import REPLICA_PREFIX, allocation_events, node_events, used_mib
from aivailable.clients.nomad_volumes import NomadVolumes
from aivailable.errors import AivailableError, RetryableError, UserError
from aivailable.model.events import ClusterEvent
from aivailable.model.progress import progress_note
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot

LOG_TAIL_BYTES = 16_384
"""How much of a log's end is read for its last lines."""
PROGRESS_TIMEOUT_S = 2.0
STATS_TIMEOUT_S = 2.0
ASKED_AT_ONCE = 8
"""Nodes that are asked what their cards hold: one that died takes the whole timeout, and nobody waits for it."""
NOTES_PER_ROUND = 30
"""Of so many replicas on their way one snapshot asks what they say, two requests each; the others keep their notes."""

_CHANGED = re.compile(r"Enforcing job modify index \d+: job (already exists|exists with conflicting|does not exist)")
_VAR_PATH = re.compile(r"[a-zA-Z0-9_~/-]{1,128}")


class NomadCluster(NomadNodes):
    """One Nomad region and namespace; see `aivailable.seams.Cluster`."""

    def __init__(self, api: NomadApi) -> None:
        super().__init__(api)
        self._events = EventWatch(api)
        self._reader = NomadReader(api)
        self.volumes = NomadVolumes(api)
        self._notes: dict[tuple[str, ReplicaState], str] = {}

    def snapshot(self) -> Snapshot:
        """Nodes, cards, free slices and replicas as they are now; slices that other jobs hold are not free either.

        Nodes and replicas that did not change are the same objects as in the last snapshot.
        """
        reading = self._reader.read()
        on_their_way = {(r.job, r.state): r for r in reading.snapshot.replicas if _on_its_way(r)}
        self._ask_for_notes(on_their_way, reading)
        if not on_their_way:
            return reading.snapshot
        notes = self._notes
        shown = (_noted(r, notes.get((r.job, r.state), r.note)) for r in reading.snapshot.replicas)
        return replace(reading.snapshot, replicas=tuple(shown))

    def _ask_for_notes(self, on_their_way: Mapping[tuple[str, ReplicaState], Replica], reading: Reading) -> None:
        """What replicas on their way say: of those longest not asked, so many that a round stays short."""
        self._notes = {key: note for key, note in self._notes.items() if key in on_their_way}
        due = [*(key for key in on_their_way if key not in self._notes), *self._notes][:NOTES_PER_ROUND]
        now = time.time()
        for key in due:
            replica, allocations = on_their_way[key], reading.allocations[key[0]]
            started = max((a.started_s for a in allocations if a.id == replica.alloc), default=0.0)
            self._notes.pop(key, None)  # it goes to the end of the line
            self._notes[key] = self._with_progress(replica, now - started, newest_failure(allocations)).note

    def _with_progress(self, replica: Replica, since_s: float, failed_task: FailedTask | None) -> Replica:
        """What a replica that is on its way last printed, or why it waits."""
        if replica.state in (ReplicaState.FETCHING, ReplicaState.LOADING):
            task = FETCH_TASK if replica.state is ReplicaState.FETCHING else ENGINE_TASK
            try:
                size = self._log_sizes(replica.alloc, task, PROGRESS_TIMEOUT_S)["stderr"]
                tail = self._tail(replica.alloc, task, "stderr", size, PROGRESS_TIMEOUT_S)
            except AivailableError:
                return replica
            return replace(replica, note=progress_note(replica.state, tail, since_s=since_s))
        if replica.state in (ReplicaState.PENDING, ReplicaState.LOST) and not replica.alloc:
            failed = self._last_words_of(failed_task) if failed_task else ""
            words = (replica.note, failed, self._why_it_waits(replica.job))
            return replace(replica, note="; ".join(filter(None, words)))
        return replica

    def _last_words_of(self, failed: FailedTask) -> str:
        """What a task that failed printed last: its error where it named one, else its last line."""
        try:
            size = self._log_sizes(failed.alloc, failed.task, PROGRESS_TIMEOUT_S)["stderr"]
            lines = self._tail(failed.alloc, failed.task, "stderr", size, PROGRESS_TIMEOUT_S).splitlines()
        except AivailableError:
            return ""
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or [line for line in lines if line.strip()] or [""])[-1].strip()

    def _why_it_waits(self, job_id: str) -> str:
        evaluations = self._api.get(f"/v1/job/{quote(job_id)}/evaluations") or []
        newest = max(evaluations, key=lambda evaluation: evaluation["CreateIndex"], default=None)
        failed = [e for e in evaluations if e.get("FailedTGAllocs")]
        if newest is None or not failed:
            return ""
        return _no_place(max(failed, key=lambda evaluation: evaluation["CreateIndex"])["FailedTGAllocs"])

    def submit(self, job_id: str, text: str, *, index: int | None = None) -> None:
        """Register a job given as HCL text, only if there is none of that id; one that is stopped is started anew.

        With `index` only while that is the stopped job's modify index, or while there is none (0).

        Raises:
            UserError: Nomad refuses the text, or its id is another.
            RetryableError: Nomad has no place for it at this moment, or it was started and stopped since.
        """
        job = self._parse(job_id, text)
        planned = self._api.put(f"/v1/job/{quote(job_id)}/plan", {"Job": job, "Diff": False}) or {}
        if planned.get("FailedTGAllocs") and job_id.startswith(REPLICA_PREFIX):
            raise RetryableError(
                f"job {job_id}: {_no_place(planned['FailedTGAllocs'])}", hint="it is planned anew with the next change"
            )
        try:
            self.register(job, index=index or 0)
        except AivailableError as error:
            existing = self._changed_meanwhile(job_id, error)
            if existing and not existing["Stop"]:
                return
            if not existing or index is not None:
                raise _anew(job_id) from error
            self.register(job, index=existing["JobModifyIndex"])

    def _parse(self, job_id: str, text: str) -> Document:
        """A job that Nomad has parsed and found valid."""
        job: Document | None = self._api.put("/v1/jobs/parse", {"JobHCL": text, "Canonicalize": True})
        if job is None or job["ID"] != job_id:
            raise UserError(f"job {job_id}: the text describes {job and job['ID']}", hint="submit it under its own id")
        checked = self._api.put("/v1/validate/job", {"Job": job}) or {}
        if wrong := checked.get("ValidationErrors") or [checked[key] for key in ("Error",) if checked.get(key)]:
            raise UserError(f"Nomad refuses the job {job_id}: {' '.join(' '.join(wrong).split())}")
        return job

    def register(self, job: Document, *, index: int) -> None:
        """Register a parsed job if its modify index is still `index` (0: there is none)."""
        self._api.put("/v1/jobs", {"Job": job, "EnforceIndex": True, "JobModifyIndex": index})

    def _changed_meanwhile(self, job_id: str, error: AivailableError) -> Document | None:
        """The job as it is, where it was refused because its index is another; any other error goes on."""
        if not _CHANGED.search(error.message):
            raise error
        found: Document | None = self._api.get(f"/v1/job/{quote(job_id)}")
        return found

    def stop(self, job_id: str, *, index: int | None = None) -> None:
        """Stop a job; an unknown id is no error. With `index` only while that is still the job's modify index.

        It is not purged: Nomad 2.0 forgets the allocations of a purged job at once and gives out their slices while
        their tasks still run to the end of their kill timeout. Nomad's own garbage collection removes it hours later;
        until then its events and logs can be read, and its id can be used again.

        Nomad's DELETE knows no condition, so a conditional stop registers the same job as a stopped one.

        Raises:
            RetryableError: The job has been registered anew since.
        """
        if index is None:
            self._api.delete(f"/v1/job/{quote(job_id)}")
            return
        job = self._api.get(f"/v1/job/{quote(job_id)}")
        if job is None or job["Stop"]:
            return
        try:
            self.register({**job, "Stop": True}, index=index)
        except AivailableError as error:
            self._changed_meanwhile(job_id, error)
            raise _anew(job_id) from error

    def replace(self, job_id: str, text: str) -> None:
        """Register a job given as HCL text, or update the one of that id; allocations that need not change run on.

        Raises:
            UserError: Nomad refuses the text.
        """
        job = self._parse(job_id, text)
        existing = self._api.get(f"/v1/job/{quote(job_id)}")
        self.register(job, index=existing["JobModifyIndex"] if existing else 0)

    def is_registered(self, job_id: str) -> bool:
        """Whether there is a job of that id that is not stopped."""
        job = self._api.get(f"/v1/job/{quote(job_id)}")
        return job is not None and not job["Stop"]

    def cards_in_use(self) -> dict[str, int]:
        """What the drivers say is in use, in MiB by card; nodes that do not answer in time are left out."""
        ready = [stub["ID"] for stub in self._api.get("/v1/nodes") or [] if stub["Status"] == "ready"]
        found: dict[str, int] = {}
        with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
            for used in pool.map(self._in_use_on, ready):
                found |= used
        return found

    def _in_use_on(self, node_id: str) -> dict[str, int]:
        try:
            answer = self._api.content("/v1/client/stats", timeout_s=STATS_TIMEOUT_S, node_id=node_id)
        except AivailableError:
            return {}
        return used_mib(json.loads(answer or "{}"))

    def changed(self, since: int, timeout_s: float) -> int:
        """Wait until nodes, jobs or allocations differ from index `since`."""
        return self._events.wait(since, timeout_s)

    def events(self, limit: int) -> tuple[ClusterEvent, ...]:
        """The newest `limit` things that happened to nodes and allocations, oldest first."""
        allocations = self._api.get("/v1/allocations", task_states="true") or []
        stubs = self._api.get("/v1/nodes") or []
        found = allocation_events(a for a in allocations if a["JobID"].startswith(REPLICA_PREFIX))
        for stub in stubs:
            found += node_events(self._api.get(f"/v1/node/{stub['ID']}") or {})
        return tuple(sorted(found, key=lambda event: event.at_s)[-limit:])

    def events_of(self, jobs: tuple[str, ...], limit: int) -> tuple[ClusterEvent, ...]:
        """The newest `limit` things that happened to the allocations of some jobs, oldest first."""
        allocations = self._api.get("/v1/allocations", task_states="true") or []
        found = allocation_events(a for a in allocations if a["JobID"] in jobs)
        return tuple(sorted(found, key=lambda event: event.at_s)[-limit:])

    def logs(self, job_id: str, *, tail_lines: int, follow: bool = False) -> Iterator[str]:
        """The last lines of the newest task's output, then with `follow` what comes, until its allocation has ended."""
        allocations = self._api.get(f"/v1/job/{quote(job_id)}/allocations", all="true") or []
        newest = max(allocations, key=lambda allocation: allocation["CreateIndex"], default=None)
        if newest is None:
            return
        states = newest.get("TaskStates") or {}
        task = ENGINE_TASK if states.get(ENGINE_TASK, {}).get("StartedAt") or FETCH_TASK not in states else FETCH_TASK
        sizes = self._log_sizes(newest["ID"], task)
        lines = [
            line for kind, size in sizes.items() for line in self._tail(newest["ID"], task, kind, size).splitlines()
        ]
        yield from lines[len(lines) - min(tail_lines, len(lines)) :]
        if follow and newest["ClientStatus"] in {"pending", "running"}:
            yield from self._follow_logs(newest["ID"], task, sizes)

    def _log_sizes(self, alloc: str, task: str, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
        """How many bytes a task has printed to each output, as far as its log files are kept."""
        files = json.loads(
            self._api.content(f"/v1/client/fs/ls/{alloc}", timeout_s=timeout_s, path="alloc/logs") or "[]"
        )
        return {
            kind: sum(file["Size"] for file in files if file["Name"].startswith(f"{task}.{kind}."))
            for kind in ("stdout", "stderr")
        }

    def _tail(self, alloc: str, task: str, kind: str, size: int, timeout_s: float = TIMEOUT_S) -> str:
        """The end of one output as it was when it had `size` bytes, from the first whole line."""
        if not size:
            return ""
        begin = max(0, size - LOG_TAIL_BYTES)
        query: dict[str, QueryValue] = {"task": task, "type": kind, "origin": "start", "offset": begin, "plain": "true"}
        read = self._api.content(f"/v1/client/fs/logs/{alloc}", timeout_s=timeout_s, **query)
        text = read[: size - begin].decode(errors="replace")
        return text.partition("\n")[2] if begin else text

    def _follow_logs(self, alloc: str, task: str, sizes: Mapping[str, int]) -> Iterator[str]:
        """Both outputs as they grow from these sizes; the streams end with the task."""
        arrived: queue.Queue[str | None] = queue.Queue()

        def read(kind: str) -> None:
            query: dict[str, QueryValue] = {"task": task, "type": kind, "origin": "start", "offset": sizes[kind]}
            try:
                path = f"/v1/client/fs/logs/{alloc}"
                with self._api.lines(path, silence_s=None, follow="true", plain="true", **query) as lines:
                    for line in lines:
                        arrived.put(line)
            except AivailableError as error:
                arrived.put(f"[{kind} cannot be followed: {error.message}]")
            finally:
                arrived.put(None)

        for kind in sizes:
            threading.Thread(target=read, args=(kind,), name=f"logs-{kind}", daemon=True).start()
        ended = 0
        while ended < len(sizes):
            line = arrived.get()
            if line is None:
                ended += 1
            else:
                yield line


class NomadSecrets:
    """Nomad's variables; see `aivailable.seams.Secrets`."""

    def __init__(self, api: NomadApi) -> None:
        self._api = api

    def list(self, prefix: str) -> tuple[str, ...]:
        """The paths below a prefix, sorted."""
        found = self._api.get("/v1/vars", prefix=f"{prefix}/") or []
        return tuple(sorted(entry["Path"] for entry in found))

    def read(self, path: str) -> Mapping[str, str] | None:
        """The items at a path, or None."""
        found = self._api.get(f"/v1/var/{quote(path)}")
        return dict(found["Items"]) if found else None

    def write(self, path: str, items: Mapping[str, str]) -> None:
        """Write the items at a path, replacing what was there.

        Raises:
            UserError: A path with a dot or another character that Nomad's variables do not allow.
        """
        if not _VAR_PATH.fullmatch(path):
            raise UserError(f"secret path {path!r}: Nomad's variables allow no dots", hint="choose another name")
        self._api.put(f"/v1/var/{quote(path)}", {"Path": path, "Items": dict(items)})

    def delete(self, path: str) -> None:
        """Remove a path; an unknown one is no error."""
        self._api.delete(f"/v1/var/{quote(path)}")

    def changed(self, since: int, timeout_s: float) -> int:
        """Wait until any secret of ours differs from index `since`."""
        return self._api.get_when_changed("/v1/vars", since, timeout_s, prefix="aivailable/").index


def _on_its_way(replica: Replica) -> bool:
    """Whether it has something to say besides its state: what its tasks print, or why it has no place."""
    if replica.state in (ReplicaState.FETCHING, ReplicaState.LOADING):
        return True
    return replica.state in (ReplicaState.PENDING, ReplicaState.LOST) and not replica.alloc


def _noted(replica: Replica, note: str) -> Replica:
    return replica if replica.note == note else replace(replica, note=note)


def _anew(job_id: str) -> RetryableError:
    return RetryableError(
        f"job {job_id} was registered anew since it was looked at", hint="it is planned anew with that change"
    )


def _no_place(failed: Document) -> str:
    """Nomad's own words on why it has no place, as far as it has any: it gives no counts."""
    words = []
    for metric in failed.values():
        dimensions = {**(metric.get("DimensionExhausted") or {}), **(metric.get("ConstraintFiltered") or {})}
        words += [f"{what} ({count} node{'s' if count > 1 else ''})" for what, count in dimensions.items()]
    return f"Nomad has no place for it: {', '.join(dict.fromkeys(words)) or 'no node is eligible'}"
