"""What every registry must do, whatever stands behind it: the embedded one, or a real Consul."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from aivailable.clients.consul import ConsulRegistry
from aivailable.controller.journal import Decision, read_decisions, record
from aivailable.embedded.registry import EmbeddedRegistry
from aivailable.seams import Registry
from aivailable.settings import ConsulSettings

REAL = pytest.param("consul", marks=pytest.mark.consul)


@pytest.fixture(params=["embedded", REAL])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    if request.param == "embedded":
        yield EmbeddedRegistry(tmp_path)
        return
    address: str = request.getfixturevalue("lone_consul")
    httpx.delete(f"{address}/v1/kv/?recurse=true", trust_env=False).raise_for_status()
    real = ConsulRegistry(ConsulSettings(address=address))
    yield real
    real.close()


def test_a_value_is_read_back(registry: Registry) -> None:
    assert registry.get("a/b.c") is None
    assert registry.put("a/b.c", "ü{}".encode())
    found = registry.get("a/b.c")
    assert found is not None
    assert found.value == "ü{}".encode()
    assert registry.get("a") is None


def test_keys_are_found_by_their_beginning(registry: Registry) -> None:
    assert registry.keys("a/") == ()
    for key in ("a/n.1/x", "a/b", "b"):
        registry.put(key, b"1")
    assert registry.keys("a/") == ("a/b", "a/n.1/x")


def test_a_value_may_be_any_bytes(registry: Registry) -> None:
    registry.put("k", bytes(range(256)))
    found = registry.get("k")
    assert found is not None
    assert found.value == bytes(range(256))


def test_compare_and_set_lets_one_writer_win(registry: Registry) -> None:
    assert registry.put("k", b"1", index=0)
    assert not registry.put("k", b"2", index=0)
    first = registry.get("k")
    assert first is not None
    assert registry.put("k", b"3", index=first.index)
    assert not registry.put("k", b"4", index=first.index)
    found = registry.get("k")
    assert found is not None
    assert found.value == b"3"


def test_of_many_writers_with_one_index_one_wins(registry: Registry) -> None:
    registry.put("k", b"0")
    seen = registry.get("k")
    assert seen is not None
    wins: list[bool] = []
    writers = [
        threading.Thread(target=lambda: wins.append(registry.put("k", b"x", index=seen.index))) for _ in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(wins) == [False] * 7 + [True]


def test_a_change_wakes_who_waits(registry: Registry) -> None:
    registry.put("k", b"0")
    index = registry.key_changed("k", 0, 1.0)
    threading.Timer(0.1, lambda: registry.put("k", b"1")).start()
    begin = time.monotonic()
    assert registry.key_changed("k", index, 5.0) != index
    assert time.monotonic() - begin < 2.0


def test_without_a_change_the_index_stays_after_the_timeout(registry: Registry) -> None:
    registry.put("k", b"0")
    index = registry.key_changed("k", 0, 1.0)
    assert registry.key_changed("k", index, 0.1) == index


def test_a_key_that_is_removed_is_gone_and_can_be_written_anew(registry: Registry) -> None:
    registry.put("a/b", b"1")
    index = registry.key_changed("a/b", 0, 1.0)
    registry.delete("a/b")
    registry.delete("a/b")
    assert registry.get("a/b") is None
    assert registry.keys("a/") == ()
    assert registry.key_changed("a/b", index, 5.0) != index
    assert registry.put("a/b", b"2", index=0)


def test_a_lock_has_one_holder(registry: Registry) -> None:
    with registry.lock("leader", timeout_s=1) as first:
        assert first.held()
        with registry.lock("leader", timeout_s=0.1) as second:
            assert not second.held()
    assert not first.held()
    with registry.lock("leader", timeout_s=5) as third:
        assert third.held()


def test_a_write_under_a_lease_needs_the_lease(registry: Registry) -> None:
    with registry.lock("leader", timeout_s=1) as lease:
        assert registry.put("k", b"1", lease=lease)
        assert registry.put("k", b"2", lease=lease)
    assert not registry.put("k", b"3", lease=lease)
    found = registry.get("k")
    assert found is not None
    assert found.value == b"2"
    assert registry.put("k", b"4")


def test_the_journal_takes_nothing_from_who_leads_no_longer(registry: Registry) -> None:
    told = Decision(at_s=1.0, model="m", replica=0, text="told in time")
    with registry.lock("leader", timeout_s=5) as lease:
        record(registry, [told], lease=lease)
    record(registry, [replace(told, text="told too late")], lease=lease)
    assert read_decisions(registry) == (told,)


def test_an_unknown_service_has_no_instances_and_no_node_is_lost(registry: Registry) -> None:
    assert registry.instances("nobody") == ()
    assert registry.lost_nodes() == frozenset()
