import json

import pytest

from aivailable.documents import dump_fleet, load_fleet, load_snapshot, resolved_document, snapshot_document
from aivailable.errors import UserError
from aivailable.model.replica import Replica, ReplicaState
from aivailable.model.snapshot import Snapshot
from tests.samples import EIGHT_B, fleet, model, node, rack


def test_a_fleet_survives_the_store() -> None:
    full = fleet(model("big", EIGHT_B), mesh="none")

    assert load_fleet(dump_fleet(full), where="x") == full


def test_a_resolved_source_takes_at_most_two_kilobytes() -> None:
    resolved = model("big", EIGHT_B).variants[0].resolved
    assert resolved is not None
    assert len(json.dumps(resolved_document(resolved))) <= 2000


def test_a_snapshot_survives_its_file() -> None:
    replica = Replica(
        model="m", variant="./m", replica=0, job="j", state=ReplicaState.SERVING, cards=("GPU-1",), claim_mib=(512,)
    )
    full = Snapshot(nodes=(*rack().nodes, node("node4", node_class="old")), replicas=(replica,))

    document = snapshot_document(full)

    assert document["nodes"][3]["class"] == "old"
    assert load_snapshot(json.dumps(document).encode(), where="s.json") == full


def test_a_snapshot_of_a_later_version_is_read() -> None:
    document = snapshot_document(rack())
    document["later"] = document["nodes"][0]["later"] = 1

    assert load_snapshot(json.dumps(document).encode(), where="s.json") == rack()


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"nodes": [{"id": 1}]}', b'{"nodes": 3}'])
def test_a_broken_snapshot_is_told_with_its_file(text: bytes) -> None:
    with pytest.raises(UserError, match=r"s\.json: not"):
        load_snapshot(text, where="s.json")
