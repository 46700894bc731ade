import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivailable.devices.slices import device_groups, reserve, slice_ids
from aivailable.errors import PermanentError, UserError
from aivailable.model.cards import Card
from tests.samples import card

T4 = card("Tesla T4", 15360, node="n", index=1, driver_version="580.1", bandwidth_gb_s=320.0)
MI50 = card("MI50", 16368, node="m", index=2, gfx="gfx906")

CARDS = st.builds(
    card,
    st.sampled_from(["A", "B"]),
    st.integers(512, 200_000),
    node=st.sampled_from(["n", "m"]),
    index=st.integers(0, 15),
)


def test_one_group_per_card_with_one_instance_per_slice() -> None:
    group, other = device_groups([T4, MI50], health_epochs={"GPU-n-1": 3})

    assert (group.vendor, group.type, group.name) == ("nvidia", "vram", "GPU-n-1")
    assert len(group.instances) == 30
    assert group.instances[0] == "GPU-n-1/000"
    assert dict(group.attributes) == {
        "memory": 15360,
        "model": "Tesla T4",
        "uuid": "GPU-n-1",
        "index": 1,
        "compute_capability": 7.5,
        "driver_version": "580.1",
        "bandwidth": 320.0,
        "slice_mib": 512,
        "health_epoch": 3,
        "simulated": False,
    }
    assert len(other.instances) == 31  # 16368 MiB: the last 496 are no whole slice
    assert "compute_capability" not in other.attributes
    assert other.attributes["gfx"] == "gfx906"


def test_two_cards_of_one_uuid_are_refused() -> None:
    with pytest.raises(UserError, match="same uuid"):
        device_groups([T4, T4])


def test_a_reservation_makes_one_card_visible() -> None:
    assert dict(reserve([T4, MI50], slice_ids(T4)[:3]).env) == {
        "CUDA_VISIBLE_DEVICES": "GPU-n-1",
        "NVIDIA_VISIBLE_DEVICES": "GPU-n-1",
        "AIVAILABLE_CARD_1": "GPU-n-1",
        "AIVAILABLE_VISIBLE_1": "GPU-n-1",
        "AIVAILABLE_VRAM_MIB_1": "1536",
    }
    amd = reserve([T4, MI50], slice_ids(MI50)[:1])
    assert dict(amd.env) == {
        "ROCR_VISIBLE_DEVICES": "2",
        "AIVAILABLE_CARD_2": "GPU-m-2",
        "AIVAILABLE_VISIBLE_2": "2",
        "AIVAILABLE_VRAM_MIB_2": "512",
    }
    assert amd.env["ROCR_VISIBLE_DEVICES"] == "2"


def test_a_simulated_card_says_so() -> None:
    made = reserve([replace(MI50, simulated=True)], slice_ids(MI50)[:1])

    assert made.env["AIVAILABLE_SIMULATED"] == "1"


@pytest.mark.parametrize("ids", [[], ["GPU-n-1/999"], ["GPU-x/000"], ["GPU-n-1/000", "GPU-m-2/000"], ["nonsense"]])
def test_slices_that_are_not_of_one_known_card_are_refused(ids: list[str]) -> None:
    with pytest.raises(PermanentError):
        reserve([T4, MI50], ids)


@given(st.lists(CARDS, max_size=6, unique_by=lambda c: c.uuid), st.data())
def test_whatever_is_published_can_be_reserved(cards: list[Card], data: st.DataObject) -> None:
    groups = device_groups(cards)
    ids = [instance for group in groups for instance in group.instances]
    assert len(set(ids)) == len(ids)
    for group in groups:
        some = data.draw(st.lists(st.sampled_from(group.instances), min_size=1, max_size=5, unique=True))
        env = reserve(cards, some).env
        assert env[f"AIVAILABLE_VRAM_MIB_{group.attributes['index']}"] == str(512 * len(some))
        assert len(group.instances) * 512 <= int(group.attributes["memory"]) < (len(group.instances) + 1) * 512


def test_the_devices_room_loads_nothing_heavy() -> None:
    code = "import sys, aivailable.devices.slices, aivailable.devices.simulated; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert not {"pydantic", "numpy", "httpx2", "rich", "click", "jinja2"} & set(done.stdout.split())
