"""A cluster that carries out plans as the real one does: a start loads before it serves, a stop takes a while."""

from dataclasses import replace

from aivailable.model.fleet import Fleet
from aivailable.model.measurement import Measurement
from aivailable.model.plan import Action, Move, Placement, Plan, Start, Stop
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from aivailable.placement import plan


def begun(placement: Placement, state: ReplicaState) -> Replica:
    """The replica that a placement becomes."""
    return Replica(
        model=placement.spec.model,
        variant=placement.spec.variant.source,
        replica=placement.replica,
        job=placement.job_id,
        state=state,
        engine=placement.spec.engine,
        vendor=placement.requirement.vendor,
        alloc=f"alloc-{placement.job_id}",
        node=placement.node,
        cards=placement.cards,
        claim_mib=placement.claim_mib,
        replaces=placement.replaces,
    )


class World:
    """Nodes, and replicas by job. No card ever holds more than it can: `carry_out` fails otherwise."""

    def __init__(self, nodes: Snapshot) -> None:
        self._nodes = nodes.nodes
        self.measured: tuple[Measurement, ...] = ()
        self.replicas: dict[str, Replica] = {}

    def snapshot(self) -> Snapshot:
        """What is now."""
        taken: dict[str, int] = {}
        for replica in self.replicas.values():
            for uuid, mib in zip(replica.cards, replica.claim_mib, strict=True):
                taken[uuid] = taken.get(uuid, 0) + mib
        nodes = []
        for node in self._nodes:
            cards = []
            for card in node.cards:
                free = card.slices - taken.get(card.uuid, 0) // card.slice_mib
                assert free >= 0, f"{card.uuid} holds more than it can"
                cards.append(replace(card, free_slices=free))
            nodes.append(replace(node, cards=tuple(cards)))
        return Snapshot(nodes=tuple(nodes), replicas=tuple(self.replicas.values()), measured=self.measured)

    def change_node(self, name: str, **facts: object) -> None:
        """A node is otherwise from now on."""
        self._nodes = tuple(
            replace(n, **facts) if n.name == name else n  # type: ignore[arg-type] # Node's own fields
            for n in self._nodes
        )

    def change_card(self, uuid: str, **facts: object) -> None:
        """A card is otherwise from now on; without facts it has vanished."""
        for node in self._nodes:
            cards = [
                replace(c, **facts) if c.uuid == uuid else c  # type: ignore[arg-type] # Card's own fields
                for c in node.cards
                if c.uuid != uuid or facts
            ]
            self.change_node(node.name, cards=tuple(cards))

    def serving(self, model: str) -> int:
        """How many replicas of a model serve."""
        return sum(r.model == model and r.state is ReplicaState.SERVING for r in self.replicas.values())

    def carry_out(self, action: Action) -> None:
        """Begin one action, as the controller does: what waits for another job is left for a later plan."""
        if action.waits_for:
            return
        if isinstance(action, Stop):
            job = action.replica.job
            self.replicas[job] = replace(self.replicas[job], state=ReplicaState.STOPPING)
        elif action.placement.job_id not in self.replicas:
            self.replicas[action.placement.job_id] = begun(action.placement, ReplicaState.LOADING)
            self.snapshot()

    def pass_time(self) -> None:
        """What loads serves, what stops is gone."""
        self.replicas = {
            job: replace(r, state=ReplicaState.SERVING) if r.state is ReplicaState.LOADING else r
            for job, r in self.replicas.items()
            if r.state is not ReplicaState.STOPPING
        }

    def re_place(self, job: str, node: str) -> bool:
        """What Nomad does with the replica of a lost node: it runs on any card with room; False: none has it."""
        replica = self.replicas[job]
        for card in next(n.cards for n in self.snapshot().nodes if n.name == node):
            if len(replica.cards) == 1 and card.free_slices * card.slice_mib >= replica.claim_mib[0]:
                self.replicas[job] = replace(replica, node=node, cards=(card.uuid,), state=ReplicaState.LOADING)
                return True
        return False

    def settle(self, wanted: Fleet, *, rounds: int = 40) -> Plan:
        """Plan and carry out until there is nothing left to do; gives the last plan."""
        made: Plan | None = None
        for _ in range(rounds):
            made = plan(wanted, self.snapshot(), made)
            if not made.actions and all(r.state is ReplicaState.SERVING for r in self.replicas.values()):
                return made
            for action in made.actions:
                self.carry_out(action)
            self.pass_time()
        raise AssertionError(f"still something to do after {rounds} rounds: {made and made.actions}")


def moved(made: Plan) -> list[str]:
    """The jobs that are moved or interrupted to run elsewhere."""
    replaced = {a.placement.replaces for a in made.actions if isinstance(a, Start | Move)}
    return [a.replica.job for a in made.actions if isinstance(a, Stop | Move) and a.replica.job in replaced]
