"""How far a replica is on its way, in words, from what its task prints."""

import re

from aivailable.model.replica import ReplicaState

_PERCENT = re.compile(r"(\d{1,3})\s?%")
LENGTH_MAX = 200


def progress_note(state: ReplicaState, printed: str, *, since_s: float) -> str:
    """What to show beside a fetching or loading replica; empty in any other state.

    Fetch tasks print lines made for people. Of an engine's log the last percentage is shown (vLLM prints one per shard,
    llama.cpp none), with the seconds it has been loading.

    Args:
        state: The replica's state.
        printed: The end of what the task that works on it printed.
        since_s: For how long it has been in that state.
    """
    if state is ReplicaState.FETCHING:
        lines = [line.strip() for line in re.split(r"[\r\n]+", printed) if line.strip()]
        said = [line for line in lines if not line.startswith("hint:")]
        return said[-1][:LENGTH_MAX] if said else ""
    if state is not ReplicaState.LOADING:
        return ""
    percents = _PERCENT.findall(printed)
    seconds = f"for {since_s:.0f} s"
    return f"{percents[-1]} %, {seconds}" if percents else seconds
