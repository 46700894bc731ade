"""What the gateways' access logs say of the requests that did not go well."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.availability.records import Record, Result

FLUSH_S = 11.0
"""Envoy writes its access log every ten seconds; what it held when it was killed is lost."""
SAID = ("t", "code", "flags", "details", "host", "attempts", "failure", "duration_ms", "first_byte_ms", "bytes_out")


def collect(records: Sequence[Record], access_logs: Callable[[], Mapping[str, Path]]) -> None:
    """Look up every request that was cut, failed, or was answered by the second gateway only."""
    wanted = {record.id: record for record in records if record.result is not Result.OK or record.retried}
    if not wanted:
        return
    time.sleep(FLUSH_S)
    for name, path in access_logs().items():
        with contextlib.suppress(FileNotFoundError), path.open(errors="replace") as file:
            for line in file:
                _match(line, name, wanted)


def _match(line: str, gateway: str, wanted: dict[str, Record]) -> None:
    try:
        entry = json.loads(line)
    except ValueError:
        return  # a line that a kill cut
    if record := wanted.get(entry.get("request_id", "")):
        record.envoy.append({"gateway": gateway, **{name: entry.get(name) for name in SAID}})
