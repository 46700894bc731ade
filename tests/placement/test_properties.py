"""What holds for every plan: random racks and fleets, carried out step by step, half-way, and changed meanwhile."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.model.cards import Node
from aivailable.model.fleet import Fleet, ModelSpec
from aivailable.model.plan import Plan, Stop
from aivailable.model.replica import ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import Planner, plan
from tests.placement.world import World
from tests.samples import EIGHT_B, SMALL, card, node, variant

BIG = replace(SMALL, weights_bytes=3_000_000_000)
TWICE = (variant(EIGHT_B, "/m/safetensors"), variant(BIG, "/m/x.gguf"))

MODELS = st.lists(
    st.builds(
        ModelSpec,
        name=st.sampled_from(["a", "b", "c", "d", "e"]),
        variants=st.sampled_from([(variant(SMALL, "/m/s.gguf"),), (variant(BIG, "/m/b.gguf"),), TWICE]),
        replicas=st.integers(1, 4),
        priority=st.sampled_from([10, 50, 90]),
        context=st.sampled_from([1024, 4096]),
        concurrency=st.integers(1, 20),
    ),
    max_size=5,
    unique_by=lambda m: m.name,
).map(lambda models: Fleet(models=tuple(models)))


@st.composite
def racks(draw: st.DrawFn) -> Snapshot:
    kinds = [("GTX 1080", 8192, 6.1), ("Tesla T4", 15360, 7.5), ("RTX 3090", 24576, 8.6)]
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 3))):
        name, total_mib, capability = draw(st.sampled_from(kinds))
        where = f"n{number}"
        cards = [
            card(name, total_mib, node=where, index=index, compute_capability=capability, simulated=True)
            for index in range(draw(st.integers(1, 2)))
        ]
        nodes.append(node(where, *cards, rack=f"r{number % 2}"))
    return Snapshot(nodes=tuple(nodes))


def counted(made: Plan) -> Counter[str]:
    """Replicas per model: with a place, without, or with one later."""
    found = Counter(p.spec.model for p in made.placements)
    found.update({u.model: u.count for u in made.unplaced})
    found.update({d.model: d.count for d in made.deferred})
    return found


@settings(max_examples=30, deadline=None)
@given(racks(), MODELS, MODELS)
def test_plans_are_carried_out_without_ever_holding_more_than_a_card_can(
    rack: Snapshot, first: Fleet, second: Fleet
) -> None:
    """From nothing to one fleet to another; every replica is accounted for; then there is nothing left to do."""
    world = World(rack)
    for wanted in (first, second):
        made = world.settle(wanted)
        assert counted(made) == Counter({m.name: m.replicas for m in wanted.models})
        planned, missing = {p.job_id for p in made.placements}, {u.model for u in made.unplaced}
        assert planned <= world.replicas.keys()
        # What is outdated serves on where its successor finds no place.
        assert {r.model for r in world.replicas.values() if r.job not in planned} <= missing


@settings(max_examples=25, deadline=None)
@given(racks(), MODELS, MODELS, st.data())
def test_plans_may_stop_half_way(rack: Snapshot, first: Fleet, second: Fleet, data: st.DataObject) -> None:
    world = World(rack)
    world.settle(first)
    for _ in range(3):
        actions = plan(second, world.snapshot()).actions
        for action in actions[: data.draw(st.integers(0, len(actions)))]:
            world.carry_out(action)
        if data.draw(st.booleans()):
            world.pass_time()
        living = sorted(job for job, r in world.replicas.items() if r.state is ReplicaState.SERVING)
        if living and data.draw(st.booleans()):
            world.re_place(data.draw(st.sampled_from(living)), data.draw(st.sampled_from(rack.nodes)).name)
    world.settle(second)


@settings(max_examples=25, deadline=None)
@given(racks(), MODELS)
def test_one_more_card_never_costs_a_replica(rack: Snapshot, wanted: Fleet) -> None:
    world = World(rack)
    before = world.settle(wanted)
    running = world.snapshot()
    more = node("n9", card("Tesla T4", 15360, node="n9", simulated=True))

    after = plan(wanted, replace(running, nodes=(*running.nodes, more)))

    ended = {a.replica.job for a in after.actions if isinstance(a, Stop)}
    begun = {a.placement.replaces for a in after.actions if not isinstance(a, Stop)}
    assert ended <= begun
    assert sum(u.count for u in after.unplaced) <= sum(u.count for u in before.unplaced)


@settings(max_examples=25, deadline=None)
@given(racks(), MODELS)
def test_the_first_replicas_come_first_and_priorities_are_respected(rack: Snapshot, wanted: Fleet) -> None:
    """Nothing runs on a card on which, alone, something that matters more and has no place could run."""
    made = World(rack).settle(wanted)
    placed = Counter(p.spec.model for p in made.placements)
    for missing in made.unplaced:
        spec = next(m for m in wanted.models if m.name == missing.model)
        alone = plan(Fleet(models=(replace(spec, replicas=1),)), rack)
        if not alone.placements or placed[spec.name]:
            continue
        for weaker in wanted.models:
            if weaker.priority < spec.priority or placed[weaker.name] > 1:
                taken = [p for p in made.placements if p.spec.model == weaker.name]
                for p in taken[-1:]:
                    size = sum(alone.placements[0].claim_mib)
                    assert p.cards != alone.placements[0].cards or p.claim_mib[0] < size


@settings(max_examples=20, deadline=None)
@given(racks(), MODELS, MODELS)
def test_a_planner_that_remembers_plans_as_one_that_does_not(rack: Snapshot, first: Fleet, second: Fleet) -> None:
    planner, world = Planner(), World(rack)
    for wanted in (first, second, first):
        for _ in range(3):
            snapshot = world.snapshot()
            made = planner.plan(wanted, snapshot)
            assert made == plan(wanted, snapshot)
            assert made == planner.plan(wanted, snapshot)
            for action in made.actions:
                world.carry_out(action)
            world.pass_time()


@settings(max_examples=20, deadline=None)
@given(racks(), MODELS)
def test_the_order_of_nodes_does_not_matter(rack: Snapshot, wanted: Fleet) -> None:
    turned = replace(rack, nodes=rack.nodes[::-1])

    made, other = plan(wanted, rack), plan(wanted, turned)

    assert (made.placements, made.actions, made.unplaced) == (other.placements, other.actions, other.unplaced)
