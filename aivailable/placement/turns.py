"""One start or stop at a time on a card where vLLM starts.

vLLM measures the card's memory while it starts, and gives up when a neighbour takes or frees some meanwhile
(vllm-project/vllm#56830). llama.cpp does not mind: where only that runs, everything goes on at once.
"""

from collections.abc import Iterable
from dataclasses import replace

from aivailable.model.fleet import Engine
from aivailable.model.plan import Action, Stop
from aivailable.model.replica import Replica, ReplicaState

_STARTING = (ReplicaState.PENDING, ReplicaState.FETCHING, ReplicaState.LOADING)


def take_turns(actions: Iterable[Action], replicas: Iterable[Replica]) -> tuple[Action, ...]:
    """The actions in their order, each waiting for what is under way on its cards, where vLLM takes part.

    What failed to start before is not waited for: it may never serve.
    """
    busy: dict[str, list[tuple[str, bool, bool]]] = {}

    def under_way(cards: Iterable[str], job: str, *, vllm: bool, ends: bool) -> None:
        for uuid in cards:
            busy.setdefault(uuid, []).append((job, vllm, ends))

    for replica in replicas:
        vllm = replica.engine == Engine.VLLM
        if replica.state is ReplicaState.STOPPING:
            under_way(replica.cards, replica.job, vllm=vllm, ends=True)
        elif replica.state in _STARTING and not replica.failures:
            under_way(replica.cards, replica.job, vllm=vllm, ends=False)
    ordered: list[Action] = []
    for action in actions:
        if isinstance(action, Stop):
            job, cards = action.replica.job, action.replica.cards
            # Its own start ends with it; what ends beside it does no harm.
            waits = [other for uuid in cards for other, vllm, ends in busy.get(uuid, ()) if vllm and not ends]
            under_way(cards, job, vllm=False, ends=True)
        else:
            job, cards = action.placement.job_id, action.placement.cards
            starts_vllm = action.placement.spec.engine is Engine.VLLM
            waits = [
                other
                for uuid in cards
                for other, vllm, ends in busy.get(uuid, ())
                if starts_vllm or (vllm and not ends)
            ]
            under_way(cards, job, vllm=starts_vllm, ends=False)
        more = tuple(dict.fromkeys(other for other in waits if other != job and other not in action.waits_for))
        ordered.append(replace(action, waits_for=(*action.waits_for, *more)) if more else action)
    return tuple(ordered)
