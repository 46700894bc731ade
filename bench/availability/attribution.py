"""Which fault explains what happened to a request; and which cut streams are failures. Pure."""

from collections.abc import Sequence

from bench.availability.client import SILENCE_S
from bench.availability.records import Done, Record, Result

NOTICED_S = 3.0
"""A kill shows at the other end of a connection at once; with some time for a busy machine."""


def attribute(records: Sequence[Record], faults: Sequence[Done]) -> None:
    """Write down at each request that was retried, cut or failed the fault that explains it, where one does.

    A cut stream that no hard fault explains is a failure: an update, a drain or nothing at all may cut none.
    """
    for record in records:
        if record.result is Result.OK and not record.retried:
            continue
        hard = [fault for fault in faults if fault.hard and _explains(fault, record)]
        if record.result is Result.CUT and not hard:
            record.result, record.why = Result.FAILED, f"stream cut, and no kill explains it: {record.why}"
        found = hard or [fault for fault in faults if _explains(fault, record)]
        # Who asked the other gateway most likely did so because of the first one: failing engines are hidden by them.
        found.sort(key=lambda fault: (bool(fault.gateway), fault.begun_s))
        record.fault = found[-1].number if found else None


def _explains(fault: Done, record: Record) -> bool:
    """Whether a fault reached a request: in its time, by its gateway or its model."""
    if record.arrival.model not in fault.models and fault.gateway not in {tried.gateway for tried in record.tries}:
        return False
    until_s = fault.begun_s + NOTICED_S
    if fault.silent:
        until_s = fault.ended_s + SILENCE_S + NOTICED_S
    elif not fault.hard:
        until_s = max(fault.ended_s, fault.recovered_s or fault.ended_s) + NOTICED_S
    # What is cut ends within that time; what is refused or slow began in it.
    return (
        fault.begun_s <= record.ended_s
        and record.tries[0].begun_s <= until_s
        and (record.result is not Result.CUT or record.ended_s <= until_s)
    )
