"""The plugin as a process, driven over go-plugin as Nomad's client drives it."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from aivailable.devices import wire
from tests.devices.nomad_client import BASE, COMMAND, PluginProcess, plugin_process
from tests.processes import eventually

RACK = """
[[node]]
name = "n1"

[[node.card]]
vendor = "nvidia"
name = "Tesla T4"
memory_mib = 15360
compute_capability = 7.5
driver_version = "580.1"
pci = "00000000:3B:00.0"

[[node.card]]
vendor = "amd"
name = "MI50"
memory_mib = 16368
gfx = "gfx906"
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    file = tmp_path / "inventory.toml"
    file.write_text(RACK)
    return file


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[PluginProcess]:
    with plugin_process(tmp_path) as started:
        yield started


def configure(plugin: PluginProcess, inventory: Path) -> None:
    config = {"inventories": ["simulated"], "simulated": str(inventory), "state": str(inventory.parent / "state")}
    for _ in range(2):  # Nomad calls it twice
        plugin.set_config(**config)


def alter(inventory: Path, old: str, new: str) -> None:
    """Another file content, with another time even within one tick of the clock."""
    before = inventory.stat().st_mtime_ns
    inventory.write_text(inventory.read_text().replace(old, new, 1))
    os.utime(inventory, ns=(before + 1_000_000, before + 1_000_000))


def attributes(group: object) -> dict[str, object]:
    found = group.attributes.items()  # type: ignore[attr-defined] # a message
    return {name: (getattr(value, value.WhichOneof("one")), value.unit) for name, value in found}


def test_the_handshake_is_go_plugins_and_a_second_process_tells_the_same_schema(plugin: PluginProcess) -> None:
    assert plugin.handshake == f"1|2|unix|{plugin.socket}|grpc"
    assert plugin.socket.is_socket()
    info = plugin.call(f"{BASE}/PluginInfo", answer=wire.PluginInfoResponse)
    assert (info.type, info.name, list(info.plugin_api_versions)) == (3, "aivailable-gpu", ["v0.1.0"])
    schema = plugin.call(f"{BASE}/ConfigSchema", answer=wire.ConfigSchemaResponse).spec.object.attributes
    assert set(schema) == {"inventories", "simulated", "node", "slice_mib", "state"}
    assert schema["slice_mib"].default.default.literal.value == "512"
    assert plugin.call("/grpc.health.v1.Health/Check") == b"\x08\x01"


def test_every_card_is_a_group_of_slices(plugin: PluginProcess, inventory: Path) -> None:
    configure(plugin, inventory)

    t4, mi50 = next(plugin.fingerprint()).device_group

    assert (t4.vendor, t4.device_type) == ("nvidia", "vram")
    assert len(t4.devices) == 30
    assert t4.devices[7].ID.removeprefix(t4.device_name) == "/007"
    assert t4.devices[7].hw_locality.pci_bus_id == "00000000:3B:00.0"
    assert attributes(t4) == {
        "memory": (15360, "MiB"),
        "model": ("Tesla T4", ""),
        "uuid": (t4.device_name, ""),
        "index": (0, ""),
        "compute_capability": (7.5, ""),
        "driver_version": ("580.1", ""),
        "pci": ("00000000:3B:00.0", ""),
        "slice_mib": (512, ""),
        "health_epoch": (0, ""),
        "simulated": (True, ""),
    }
    assert len(mi50.devices) == 31
    assert attributes(mi50)["gfx"] == ("gfx906", "")


def test_reserve_gives_the_environment_of_the_card(plugin: PluginProcess, inventory: Path) -> None:
    configure(plugin, inventory)
    t4, mi50 = next(plugin.fingerprint()).device_group

    assert dict(plugin.reserve(*(device.ID for device in t4.devices[:4])).envs) == {
        "CUDA_VISIBLE_DEVICES": t4.device_name,
        "NVIDIA_VISIBLE_DEVICES": t4.device_name,
        "AIVAILABLE_CARD_0": t4.device_name,
        "AIVAILABLE_VISIBLE_0": t4.device_name,
        "AIVAILABLE_VRAM_MIB_0": "2048",
        "AIVAILABLE_SIMULATED": "1",
    }
    amd = plugin.reserve(mi50.devices[0].ID).envs
    assert amd["ROCR_VISIBLE_DEVICES"] == "1"
    assert "HIP_VISIBLE_DEVICES" not in amd


def test_health_changes_slices_and_epoch_and_the_stream_goes_on(plugin: PluginProcess, inventory: Path) -> None:
    configure(plugin, inventory)
    stream = plugin.fingerprint()
    before = next(stream).device_group[0]
    assert all(device.healthy for device in before.devices)

    alter(inventory, "memory_mib = 15360", "memory_mib = 15360\nhealthy = false")
    sick = next(stream).device_group[0]
    assert not any(device.healthy for device in sick.devices)
    assert sick.devices[0].health_description == "marked unhealthy in its file"
    assert attributes(sick)["health_epoch"] == (1, "")
    with pytest.raises(grpc.RpcError, match="unhealthy: marked unhealthy in its file"):
        plugin.reserve(sick.devices[0].ID)

    alter(inventory, "healthy = false", "healthy = true")
    well = next(stream).device_group[0]
    assert all(device.healthy for device in well.devices)
    assert attributes(well)["health_epoch"] == (2, "")


def test_a_vanished_card_stays_unhealthy_and_a_broken_file_changes_nothing_else(
    plugin: PluginProcess, inventory: Path
) -> None:
    configure(plugin, inventory)
    stream = plugin.fingerprint()
    assert len(next(stream).device_group) == 2

    whole = inventory.read_text()
    alter(inventory, whole, whole[: whole.rindex("[[node.card]]")])
    groups = {group.vendor: group for group in next(stream).device_group}
    assert groups["nvidia"].devices[0].healthy
    assert groups["amd"].devices[0].health_description == "the card has gone"

    alter(inventory, "[[node]]", "[[node")
    broken = next(stream).device_group
    assert len(broken) == 2
    assert not broken[0].devices[0].healthy
    assert "not TOML" in broken[0].devices[0].health_description

    alter(inventory, inventory.read_text(), whole)
    assert all(group.devices[0].healthy for group in next(stream).device_group)


def test_memory_of_a_stranger_is_published_and_what_fits_beside_it_is_reserved(
    plugin: PluginProcess, inventory: Path
) -> None:
    alter(inventory, "memory_mib = 15360", "memory_mib = 15360\nforeign_mib = 9000")
    configure(plugin, inventory)
    t4 = next(plugin.fingerprint()).device_group[0]

    assert attributes(t4)["foreign_mib"] == (9216, "")
    assert plugin.reserve(*(device.ID for device in t4.devices[:12])).envs["AIVAILABLE_VRAM_MIB_0"] == "6144"
    with pytest.raises(grpc.RpcError, match="no such slice: GPU-x/000"):
        plugin.reserve("GPU-x/000")


def test_what_tasks_booked_counts_when_a_stranger_holds_memory(plugin: PluginProcess, inventory: Path) -> None:
    alter(inventory, "memory_mib = 15360", "memory_mib = 15360\nforeign_mib = 9000")
    configure(plugin, inventory)
    t4 = next(plugin.fingerprint()).device_group[0]
    booked = dict(plugin.reserve(*(device.ID for device in t4.devices[:8])).envs)
    task = subprocess.Popen(
        ["sleep", "60"], env={**os.environ, **booked, "NOMAD_ALLOC_ID": "a", "NOMAD_TASK_NAME": "engine"}
    )
    try:
        measured = eventually(lambda: _booked(plugin) or None)
        assert measured == 4096
        ends_soon = threading.Timer(1, task.kill)
        ends_soon.start()
        plugin.reserve(*(device.ID for device in t4.devices[8:16]))  # waits for the memory of the task
        ends_soon.join()
    finally:
        task.kill()
        task.wait(10)


def _booked(plugin: PluginProcess) -> int:
    (stats,) = next(plugin.stats()).groups[0].instance_stats.values()
    return int(stats.stats.attributes["Memory booked"].int_numerator_val.value)


def test_stats_are_one_entry_per_card(plugin: PluginProcess, inventory: Path) -> None:
    alter(inventory, "memory_mib = 15360", "memory_mib = 15360\nforeign_mib = 100")
    configure(plugin, inventory)
    uuids = [group.device_name for group in next(plugin.fingerprint()).device_group]

    stats = next(plugin.stats())

    assert [(group.type, group.name, list(group.instance_stats)) for group in stats.groups] == [
        ("gpu", "Tesla T4", [uuids[0]]),
        ("gpu", "MI50", [uuids[1]]),
    ]
    summary = stats.groups[0].instance_stats[uuids[0]].summary
    assert (summary.int_numerator_val.value, summary.int_denominator_val.value, summary.unit) == (100, 15360, "MiB")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"inventories": ["intel"]}, "inventories: 'intel' is not known"),
        ({"inventories": ["simulated"]}, '"simulated" needs a file'),
        ({"inventories": ["simulated"], "simulated": "/nowhere"}, "No such file"),
        ({"slice_mib": 300}, "slice_mib: 300 (hint: use one of 256, 512, 1024"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_and_nothing_else_happens(
    plugin: PluginProcess, tmp_path: Path, config: dict[str, object], words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        plugin.set_config(state=str(tmp_path / "state"), **config)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.details()
    assert not (tmp_path / "state").exists()


def test_another_slice_size_is_refused_until_the_state_is_removed(
    plugin: PluginProcess, tmp_path: Path, inventory: Path
) -> None:
    configure(plugin, inventory)
    other = {
        "inventories": ["simulated"],
        "simulated": str(inventory),
        "state": str(tmp_path / "state"),
        "slice_mib": 1024,
    }

    with plugin_process(tmp_path) as second:
        with pytest.raises(grpc.RpcError, match="would book memory twice"):
            second.set_config(**other)
        (tmp_path / "state" / "slices.json").unlink()
        second.set_config(**other)
        assert len(next(second.fingerprint()).device_group[0].devices) == 15


def test_shutdown_ends_the_process_and_leaves_no_socket(plugin: PluginProcess, inventory: Path) -> None:
    configure(plugin, inventory)
    stream = plugin.fingerprint()
    next(stream)

    plugin.call("/plugin.GRPCController/Shutdown")

    assert plugin.process.wait(10) == 0
    assert not plugin.socket.parent.exists()


def test_a_killed_plugin_is_swept_up_by_the_next_which_tells_the_same(tmp_path: Path, inventory: Path) -> None:
    with plugin_process(tmp_path) as first:
        configure(first, inventory)
        before = next(first.fingerprint())
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(10)
        assert first.socket.parent.exists()
        with plugin_process(tmp_path) as second:
            assert not first.socket.parent.exists()
            configure(second, inventory)
            assert next(second.fingerprint()) == before


def test_log_lines_are_hclogs_json(plugin: PluginProcess, inventory: Path) -> None:
    plugin.set_config(inventories=["nvidia"], state=str(inventory.parent / "state"))
    assert list(next(plugin.fingerprint()).device_group) == []

    (line, *_) = eventually(lambda: plugin.log)
    assert {"@level", "@message", "@module", "@timestamp"} == set(json.loads(line))


def test_started_by_hand_it_says_who_starts_it() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 2
    assert "Nomad starts it" in done.stderr
