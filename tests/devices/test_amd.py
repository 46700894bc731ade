"""AMD's inventory over a rack behind AMD SMI's own names; a real card was not at hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from aivailable.devices.amd import AmdInventory
from aivailable.devices.inventory import CardProcess
from aivailable.devices.slices import reserve, slice_ids
from aivailable.errors import RetryableError
from aivailable.model.cards import Card, Vendor
from tests.devices.fakes.amdsmi import MIB, FakeCard, FakeSmi

MI50 = Card(
    uuid="GPU-4c8a1f2b3d5e6f70",
    index=0,
    vendor=Vendor.AMD,
    name="AMD Instinct MI60 / MI50",
    total_mib=16368,
    gfx="gfx906",
    bandwidth_gb_s=1024.0,
    driver_version="6.12.12",
    pci="0000:44:00.0",
    used_mib=12,
)


def test_a_card_is_read_as_its_driver_reports_it(tmp_path: Path) -> None:
    for name in ("card1", "renderD129"):
        (tmp_path / "0000:44:00.0" / "drm" / name).mkdir(parents=True)
    process = {"pid": 7, "name": "python3", "memory_usage": {"vram_mem": 900 * MIB, "gtt_mem": 0}}
    library = FakeSmi(FakeCard(processes=[process]))

    (reading,) = AmdInventory(library, pci_devices=tmp_path).read()

    assert reading.card == MI50
    assert reading.device_nodes == ("/dev/kfd", "/dev/dri/card1", "/dev/dri/renderD129")
    assert reading.processes == (CardProcess(pid=7, used_mib=900),)
    assert (reading.utilization_percent, reading.temperature_c, reading.power_w) == (63.0, 48.0, 22.0)
    assert reserve([reading.card], slice_ids(reading.card)[:2]).env["ROCR_VISIBLE_DEVICES"] == MI50.uuid


def test_an_old_version_tells_less_and_that_is_enough(tmp_path: Path) -> None:
    without = frozenset({"amdsmi_get_gpu_vram_info", "amdsmi_get_gpu_activity", "amdsmi_get_gpu_bad_page_info"})
    card = FakeCard(absent={"ecc", "power", "driver"}, edge="N/A", processes=[7], gfx="N/A")

    (reading,) = AmdInventory(FakeSmi(card, without=without), pci_devices=tmp_path).read()

    assert reading.card == replace(MI50, gfx=None, bandwidth_gb_s=None, driver_version="")
    assert reading.device_nodes == ("/dev/kfd", "/dev/dri")
    assert reading.processes == (CardProcess(pid=7, used_mib=700),)
    assert (reading.utilization_percent, reading.temperature_c, reading.power_w) == (None, 71.0, None)


@pytest.mark.parametrize("serial", ["N/A", "0x0", "", "0xffffffffffffffff"])
def test_a_card_without_a_unique_id_is_known_by_what_it_is_and_where_it_sits(tmp_path: Path, serial: str) -> None:
    cards = (FakeCard(serial=serial, bdf="0000:03:00.0"), FakeCard(serial=serial, bdf="0000:04:00.0"))

    first, second = AmdInventory(FakeSmi(*cards), pci_devices=tmp_path).read()

    assert first.card.uuid != second.card.uuid
    assert reserve([first.card, second.card], slice_ids(second.card)[:1]).env["ROCR_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ecc": 3}, "3 uncorrectable ECC errors since the driver was loaded: reset the card"),
        (
            {
                "bad_pages": [
                    {"status": "AmdSmiMemoryPageStatus.PENDING"},
                    {"status": "AmdSmiMemoryPageStatus.RESERVED"},
                ]
            },
            "1 bad pages wait to be taken out of use",
        ),
        ({"lost": True}, "the card does not answer"),
    ],
)
def test_a_sick_card_is_unhealthy_with_the_reason_and_heals_when_it_is_well(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    library = FakeSmi(FakeCard(), FakeCard(serial="0x2"))
    inventory = AmdInventory(library, pci_devices=tmp_path)
    well = inventory.read()
    before = library.cards[0]
    library.cards[0] = replace(before, **change)  # type: ignore[arg-type] # FakeCard's own fields

    sick, other = inventory.read()

    assert not sick.card.healthy
    assert why in sick.why
    assert other.card.healthy
    library.cards[0] = before
    assert inventory.read() == well


def test_a_card_that_vanishes_stays_unhealthy(tmp_path: Path) -> None:
    library = FakeSmi(FakeCard(), FakeCard(serial="0x2"))
    inventory = AmdInventory(library, pci_devices=tmp_path)
    inventory.read()
    library.cards.pop(0)

    found = {reading.card.uuid: reading for reading in inventory.read()}

    assert found[MI50.uuid].why == "the card has gone"
    assert found["GPU-0000000000000002"].card.healthy


def test_no_driver_and_no_package_are_said(tmp_path: Path) -> None:
    library = FakeSmi(FakeCard())
    inventory = AmdInventory(library, pci_devices=tmp_path)
    library.driver = False
    with pytest.raises(RetryableError, match="no AMD driver answers"):
        inventory.read()
    library.driver = True
    assert len(inventory.read()) == 1
    library.driver = False
    with pytest.raises(RetryableError, match="AMD SMI does not answer"):
        inventory.read()


def test_without_the_package_it_is_said_what_is_missing() -> None:
    with pytest.raises(RetryableError, match="AMD SMI is not installed") as caught:
        AmdInventory().read()
    assert "comes with ROCm" in caught.value.hint
