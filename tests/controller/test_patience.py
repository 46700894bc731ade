"""What only a clock can tell."""

from dataclasses import replace

from aivailable.controller.apply import Outcome
from aivailable.controller.backoff import Backoff
from aivailable.controller.patience import Patience
from aivailable.errors import RetryableError
from aivailable.model.plan import Start, Stop
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan
from tests.placement.test_decisions import rack, sized
from tests.placement.world import World
from tests.samples import fleet


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def one(state: ReplicaState) -> Snapshot:
    world = World(rack(8, 8))
    world.settle(fleet(sized("a", 3)))
    world.replicas = {job: replace(r, state=state) for job, r in world.replicas.items()}
    return world.snapshot()


def test_an_engine_that_hangs_is_replaced_after_a_while_and_not_before() -> None:
    clock = Clock()
    patience = Patience(unhealthy_s=30, loading_s=1800, clock=clock)
    snapshot = one(ReplicaState.UNHEALTHY)

    assert patience.look(snapshot) is snapshot
    clock.now_s = 29.0
    assert patience.look(snapshot) is snapshot
    assert patience.due_in_s() == 1.0
    clock.now_s = 31.0
    (marked,) = patience.look(snapshot).replicas
    assert marked.forsaken == "it is unhealthy for 30 s"
    recovered = one(ReplicaState.SERVING)
    assert patience.look(recovered) is recovered
    clock.now_s = 40.0
    assert patience.look(snapshot) is snapshot
    assert patience.due_in_s() == 30.0


def test_a_start_that_takes_too_long() -> None:
    clock = Clock()
    patience = Patience(unhealthy_s=30, loading_s=1800, clock=clock)
    snapshot = one(ReplicaState.LOADING)
    patience.look(snapshot)
    clock.now_s = 1801.0

    assert patience.look(snapshot).replicas[0].forsaken == "it does not serve after 1800 s"


def test_where_consul_misses_most_nodes_it_is_consul_that_is_cut_off() -> None:
    patience = Patience(unhealthy_s=30, loading_s=1800, clock=Clock())

    def silent(*names: str) -> set[str]:
        nodes = tuple(replace(n, silent=n.name in names) for n in rack(8, 8, 8).nodes)
        return {n.name for n in patience.look(Snapshot(nodes=nodes)).nodes if n.silent}

    assert silent("n1") == {"n1"}
    assert silent("n1", "n2") == set()


def test_a_refused_model_waits_longer_each_time_and_holds_up_nobody() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    a, b = plan(fleet(sized("a", 3), sized("b", 3)), rack(8)).actions
    assert isinstance(a, Start)
    refused = Outcome(action=a, text="", error=RetryableError("no"))

    for wait_s in (1, 2, 4, 8, 16, 32, 60, 60):
        backoff.learn([refused, Outcome(action=b, text="")])
        assert (backoff.may(a), backoff.may(b)) == (False, True)
        assert backoff.due_in_s() == wait_s
        clock.now_s += wait_s
        assert backoff.may(a)
    # What was corrected, or stops, does not wait.
    backoff.learn([refused])
    (corrected,) = plan(fleet(sized("a", 3, context=512)), rack(8)).actions
    assert backoff.may(corrected)
    (stop,) = plan(fleet(), one(ReplicaState.SERVING)).actions
    assert isinstance(stop, Stop)
    assert backoff.may(stop)
    backoff.learn([Outcome(action=a, text="")])
    assert backoff.may(a)
    backoff.learn([refused])
    backoff.forget(["b"])
    assert backoff.may(a)
