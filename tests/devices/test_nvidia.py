"""NVIDIA's inventory over a rack behind NVML's own names; a real card was not at hand."""

from dataclasses import replace

import pytest

from aivailable.devices.inventory import CardProcess
from aivailable.devices.nvidia import APPLICATION_XIDS, NvidiaInventory
from aivailable.errors import RetryableError
from aivailable.model.cards import Card, Vendor
from tests.devices.fakes.nvml import FakeCard, FakeNvml

T4 = Card(
    uuid="GPU-a",
    index=0,
    vendor=Vendor.NVIDIA,
    name="Tesla T4",
    total_mib=15360,
    compute_capability=7.5,
    bandwidth_gb_s=320.1,
    driver_version="580.95.05",
    pci="00000000:3B:00.0",
    used_mib=100,
)


def test_a_card_is_read_with_its_memory_minus_what_the_driver_reserves() -> None:
    library = FakeNvml(FakeCard("GPU-a", used_mib=100, processes=[(7, 90)]))

    (reading,) = NvidiaInventory(library).read()

    assert reading.card == T4
    assert reading.processes == (CardProcess(pid=7, used_mib=90),)
    assert (reading.utilization_percent, reading.temperature_c, reading.power_w) == (37.0, 51.0, 27.5)


def test_an_old_driver_tells_less_and_that_is_enough() -> None:
    absent = {"memory_v2", "mig", "bus", "power", "utilization", "temperature", "ecc", "remapped", "pending", "events"}
    library = FakeNvml(FakeCard("GPU-a", used_mib=100, absent=absent, processes=[(7, None)]))

    (reading,) = NvidiaInventory(library).read()

    assert reading.card == replace(T4, total_mib=15790, used_mib=530, bandwidth_gb_s=None)
    assert reading.processes == (CardProcess(pid=7, used_mib=None),)
    assert (reading.utilization_percent, reading.temperature_c, reading.power_w) == (None, None, None)


def test_where_mig_is_on_the_instances_are_the_cards() -> None:
    halves = [
        FakeCard(f"MIG-{n}", name="NVIDIA A100-SXM4-40GB MIG 3g.20gb", total_mib=19968, reserved_mib=0) for n in (1, 2)
    ]
    library = FakeNvml(FakeCard("GPU-t"), FakeCard("GPU-a100", capability=(8, 0), instances=halves))

    first, one, two = NvidiaInventory(library).read()

    assert first.card.index == 0
    assert [(r.card.uuid, r.card.index, r.card.total_mib) for r in (one, two)] == [
        ("MIG-1", 200, 19968),
        ("MIG-2", 201, 19968),
    ]
    assert one.card.name == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    assert one.card.compute_capability == 8.0
    library.events.append((library.cards[1], 79))
    assert [r.card.healthy for r in NvidiaInventory(library).read()] == [True, True, True]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ecc": 2}, "2 uncorrected ECC errors since the driver was loaded: reset the card"),
        ({"remapped": (0, 1, 0, 1)}, "could not be remapped"),
        ({"remapped": (0, 1, 1, 0)}, "waits for a reset"),
        ({"pending": 1}, "waits for a reset"),
        ({"lost": True}, "the card does not answer"),
    ],
)
def test_a_sick_card_is_unhealthy_with_the_reason_and_heals_when_it_is_well(
    change: dict[str, object], why: str
) -> None:
    library = FakeNvml(FakeCard("GPU-a"), FakeCard("GPU-b"))
    inventory = NvidiaInventory(library)
    well = inventory.read()
    before = library.cards[0]
    library.cards[0] = replace(before, **change)  # type: ignore[arg-type] # FakeCard's own fields

    sick, other = inventory.read()

    assert not sick.card.healthy
    assert why in sick.why
    assert other.card.healthy
    library.cards[0] = before
    assert inventory.read() == well


def test_a_critical_xid_stays_and_an_applications_mistake_does_not_count() -> None:
    library = FakeNvml(FakeCard("GPU-a"), FakeCard("GPU-b"))
    inventory = NvidiaInventory(library)
    inventory.read()
    library.events += [(library.cards[0], xid) for xid in sorted(APPLICATION_XIDS)]
    library.events.append((library.cards[1], 79))

    for _ in range(2):
        well, sick = inventory.read()
        assert well.card.healthy
        assert sick.why == "XID 79: reset the card, then restart the Nomad agent"


def test_an_xid_of_a_card_reaches_its_instances() -> None:
    library = FakeNvml(FakeCard("GPU-a100", instances=[FakeCard("MIG-1"), FakeCard("MIG-2")]))
    inventory = NvidiaInventory(library)
    inventory.read()
    library.events.append((library.cards[0], 48))

    assert [reading.why[:6] for reading in inventory.read()] == ["XID 48", "XID 48"]
    library.cards[0].lost = True
    assert ["does not answer" in reading.why for reading in inventory.read()] == [True, True]


def test_a_card_that_vanishes_stays_unhealthy() -> None:
    library = FakeNvml(FakeCard("GPU-a"), FakeCard("GPU-b"))
    inventory = NvidiaInventory(library)
    inventory.read()
    library.cards.pop(0)

    found = {reading.card.uuid: reading for reading in inventory.read()}

    assert found["GPU-a"].why == "the card has gone"
    assert found["GPU-b"].card.healthy


def test_no_driver_is_said_and_one_that_comes_back_is_used() -> None:
    library = FakeNvml(FakeCard("GPU-a"))
    inventory = NvidiaInventory(library)
    library.driver = False
    with pytest.raises(RetryableError, match="no NVIDIA driver answers"):
        inventory.read()
    library.driver = True
    assert len(inventory.read()) == 1
    library.driver = False
    with pytest.raises(RetryableError, match="NVML does not answer"):
        inventory.read()
    library.driver = True
    assert len(inventory.read()) == 1
    assert library.opened == 2


def test_a_driver_without_cards_has_none() -> None:
    assert NvidiaInventory(FakeNvml()).read() == ()
