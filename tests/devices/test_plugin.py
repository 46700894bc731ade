"""The plugin's decisions, without gRPC: inventories that fail, foreign memory, waiting."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from aivailable.devices.holders import Task, holdings, running_tasks
from aivailable.devices.inventory import CardProcess, Reading
from aivailable.devices.plugin import FOREIGN_SETTLE_S, Plugin
from aivailable.devices.slices import reserve, slice_ids
from aivailable.errors import PermanentError
from tests.devices.test_plugin_process import RACK
from tests.samples import card

T4 = card("Tesla T4", 15360, node="n", used_mib=9000)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def plugin_on(folder: Path, rack: str, clock: Clock) -> tuple[Plugin, list[str]]:
    lines: list[str] = []
    (folder / "inventory.toml").write_text(rack)
    (folder / "proc").mkdir()
    plugin = Plugin(log=lambda level, text: lines.append(f"{level} {text}"), clock=clock, proc=folder / "proc")
    config = {"inventories": ["simulated"], "simulated": str(folder / "inventory.toml"), "state": str(folder / "state")}
    plugin.configure(config)
    return plugin, lines


def process(proc: Path, pid: int, **env: str) -> None:
    (proc / str(pid)).mkdir()
    text = "\0".join(f"{name}={value}" for name, value in env.items())
    (proc / str(pid) / "environ").write_bytes(text.encode() + b"\0")
    (proc / str(pid) / "comm").write_text("python3\n")


def test_tasks_are_known_by_their_environment(tmp_path: Path) -> None:
    env = reserve([T4], slice_ids(T4)[:4]).env
    process(tmp_path, 7, NOMAD_ALLOC_ID="a", NOMAD_TASK_NAME="engine", **env)
    process(tmp_path, 8, NOMAD_ALLOC_ID="a", NOMAD_TASK_NAME="engine", **env)
    process(tmp_path, 9, NOMAD_ALLOC_ID="b", NOMAD_TASK_NAME="fetch")
    process(tmp_path, 10, HOME="/root")
    (tmp_path / "11").mkdir()

    assert running_tasks(tmp_path) == (Task(alloc="a", task="engine", booked_mib={T4.uuid: 2048}, pids=(7, 8)),)


@pytest.mark.parametrize(
    ("processes", "foreign_mib", "strangers"),
    [
        ((CardProcess(pid=7, used_mib=2000), CardProcess(pid=99, used_mib=7000)), 7000, (99,)),
        ((CardProcess(pid=7, used_mib=None), CardProcess(pid=99, used_mib=None)), 9000 - 2048, (99,)),
        ((), 9000 - 2048, ()),
        ((CardProcess(pid=7, used_mib=9000),), 0, ()),
    ],
)
def test_what_no_task_holds_is_foreign(
    processes: tuple[CardProcess, ...], foreign_mib: int, strangers: tuple[int, ...]
) -> None:
    task = Task(alloc="a", task="engine", booked_mib={T4.uuid: 2048}, pids=(7,))
    elsewhere = Task(alloc="b", task="engine", booked_mib={"GPU-other": 512}, pids=(99,))

    held = holdings(Reading(card=T4, processes=processes), [task, elsewhere])

    assert (held.foreign_mib, held.strangers, held.booked_mib) == (foreign_mib, strangers, 2048)
    assert held.short_mib(1024) == 1024 + 2048 + foreign_mib - 15360


def test_reserve_refuses_memory_of_a_stranger_after_waiting_and_names_it(tmp_path: Path) -> None:
    plugin, _ = plugin_on(tmp_path, RACK.replace("= 15360", "= 15360\nforeign_mib = 9000"), Clock())
    process(tmp_path / "proc", 1)
    t4 = plugin.look()[0].group

    with pytest.raises(PermanentError) as caught:
        plugin.reserve(t4.instances[:13], wait_s=0)

    assert str(caught.value) == (
        f"card Tesla T4 ({t4.name}) is short of 296 MiB: 9000 MiB are held by what is no task of Nomad "
        "(process 1 (python3)); 6656 MiB asked, 0 MiB booked by other tasks, 15360 MiB in all"
    )


def test_foreign_memory_is_published_when_it_has_settled(tmp_path: Path) -> None:
    clock = Clock()
    plugin, _ = plugin_on(tmp_path, RACK, clock)
    file = tmp_path / "inventory.toml"
    assert "foreign_mib" not in plugin.look()[0].group.attributes

    file.write_text(RACK.replace("= 15360", "= 15360\nforeign_mib = 9000"))
    os.utime(file, ns=(1, 1))
    assert "foreign_mib" not in plugin.look()[0].group.attributes
    clock.now_s = FOREIGN_SETTLE_S
    assert plugin.look()[0].group.attributes["foreign_mib"] == 9216


def test_an_inventory_that_fails_is_told_once_and_its_cards_are_unhealthy(tmp_path: Path) -> None:
    plugin, lines = plugin_on(tmp_path, RACK, Clock())
    healthy = plugin.look()
    (tmp_path / "inventory.toml").unlink()

    for _ in range(3):
        sick = plugin.look()

    assert [card.group for card in sick] == [
        replace(card.group, healthy=False, attributes={**card.group.attributes, "health_epoch": 1}) for card in healthy
    ]
    assert sum("No such file" in line for line in lines) == 3  # the inventory once, and each card once
