"""The world after a plan: what a cluster would show once all actions were carried out."""

from dataclasses import replace

from aivailable.model.plan import Move, Placement, Plan, Stop
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot


def serving(placement: Placement) -> Replica:
    """The replica that a placement becomes."""
    return Replica(
        model=placement.spec.model,
        variant=placement.spec.variant.source,
        replica=placement.replica,
        job=placement.job_id,
        state=ReplicaState.SERVING,
        vendor=placement.requirement.vendor,
        alloc=f"alloc-{placement.job_id}",
        node=placement.node,
        cards=placement.cards,
        claim_mib=placement.claim_mib,
    )


def after(plan: Plan, snapshot: Snapshot) -> Snapshot:
    """The snapshot with every action done and everything serving. Nodes on which nothing changes stay the same."""
    gone = {a.replica.job for a in plan.actions if isinstance(a, Stop | Move)}
    gone |= {r.job for r in snapshot.replicas if r.state is ReplicaState.STOPPING}
    replicas = [r for r in snapshot.replicas if r.job not in gone]
    freed: dict[str, int] = {}
    for replica in snapshot.replicas:
        if replica.job in gone:
            for uuid, mib in zip(replica.cards, replica.claim_mib, strict=True):
                freed[uuid] = freed.get(uuid, 0) + mib
    for action in plan.actions:
        if isinstance(action, Stop):
            continue
        placement = action.placement
        replicas.append(serving(placement))
        for uuid, mib in zip(placement.cards, placement.claim_mib, strict=True):
            freed[uuid] = freed.get(uuid, 0) - mib
    nodes = tuple(
        replace(
            node,
            cards=tuple(
                replace(c, free_slices=c.free_slices + freed[c.uuid] // c.slice_mib) if freed.get(c.uuid) else c
                for c in node.cards
            ),
        )
        if any(freed.get(c.uuid) for c in node.cards)
        else node
        for node in snapshot.nodes
    )
    return Snapshot(nodes=nodes, replicas=tuple(replicas))
