"""The formula of docs/cost.md, its tool, and that the page says what the tool computes."""

import re
import subprocess
import sys

import pytest

from tests.processes import ROOT
from tools.cost import CARDS, LEAST_GAIN, MODELS, Model, Rig, kwh_per_million, rig_of, tokens_s

PROGRAM = ROOT / "tools" / "cost.py"
PAGE = ROOT / "docs" / "cost.md"
RIG = Rig(name="c", bandwidth_gb_s=100.0, watts=180.0, efficiency=0.5, gain=4.0)
MODEL = Model(name="m", weights_bytes=5e9, kv_bytes=100_000, source="")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True, check=False, timeout=30)


def test_one_stream_reads_all_weights_for_each_token() -> None:
    # 50 GB/s reach 5 GB ten times a second.
    assert tokens_s(RIG, MODEL, streams=1, context=0) == pytest.approx(10)
    # Ten thousand tokens of context are another GB.
    assert tokens_s(RIG, MODEL, streams=1, context=10_000) == pytest.approx(50 / 6)


def test_eight_streams_are_faster_by_the_gain_and_each_reads_its_own_context() -> None:
    assert tokens_s(RIG, MODEL, streams=8, context=0) == pytest.approx(4 * 10)
    assert tokens_s(RIG, MODEL, streams=8, context=10_000) == pytest.approx(8 / ((5 * 2 + 8) / 50))
    speeds = [tokens_s(RIG, MODEL, streams=n, context=0) for n in range(1, 9)]
    assert speeds == sorted(speeds)


def test_energy_is_watts_over_speed_and_idling_is_paid_by_what_is_written() -> None:
    # 180 W at 50 tokens/s: 3.6 J a token, 1 kWh a million.
    assert kwh_per_million(50, watts=180) == pytest.approx(1)
    assert kwh_per_million(50, watts=180, busy=0.5, idle_watts=180) == pytest.approx(2)
    assert kwh_per_million(50, watts=180, busy=0.5, idle_watts=0) == pytest.approx(1)
    assert kwh_per_million(50, watts=180, busy=0.1, idle_watts=20) == pytest.approx(2)


def test_an_efficiency_gives_back_the_run_that_it_was_taken_from() -> None:
    for name, watts, published, note in CARDS:
        if note.startswith("none"):
            continue
        rig = rig_of(name, watts, published)
        read = Model(name="", weights_bytes=published.step_bytes, kv_bytes=0, source="")
        assert tokens_s(rig, read, streams=1, context=0) == pytest.approx(published.tokens_s)
        assert 0 < rig.efficiency < 1
        assert LEAST_GAIN <= rig.gain < 8
        if published.gain:
            assert tokens_s(rig, read, streams=8, context=0) == pytest.approx(published.tokens_s * published.gain)


def test_the_page_is_what_the_tool_computes() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def prices(model: str) -> list[tuple[float, float]]:
    """Price of a million tokens with one and with eight streams, card by card, as the page's table shows it."""
    table = PAGE.read_text().partition(f"### {model}\n")[2].partition("\n#")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    return [(float(row[5]), float(row[8])) for row in cells]


def test_what_the_page_concludes_is_what_its_table_shows() -> None:
    found = prices(MODELS[0].name)

    assert len(found) == len(CARDS)
    assert "a GTX 1080 writes a million tokens of an 8B\nmodel for 0.37 with one stream and for 0.16 with eight" in (
        PAGE.read_text()
    )
    assert found[0] == (0.37, 0.16)
    assert all(one > 0.20 for one, _ in found), "one stream loses on every card below"
    assert sum(eight < 0.20 for _, eight in found) > len(found) / 2, "eight streams win on most"
    assert sum(eight < 0.06 for _, eight in found) == 0, "against 0.06 next to nothing wins"
    efficiencies = [round(100 * rig_of(name, watts, published).efficiency) for name, watts, published, _ in CARDS]
    assert f"{min(efficiencies)} to {max(efficiencies)} %" in PAGE.read_text()


def test_options_change_the_numbers_and_write_nothing() -> None:
    before = PAGE.read_bytes()
    plain, dearer = run("--card", "p40", "--price", "0.3"), run("--card", "p40", "--price", "0.6")
    last = re.compile(r"\| Tesla P40 .*\| (\S+) \|$", re.MULTILINE)

    assert (plain.returncode, dearer.returncode) == (0, 0)
    assert float(last.findall(dearer.stdout)[0]) == pytest.approx(2 * float(last.findall(plain.stdout)[0]), abs=0.02)
    assert run("--card", "t4", "--watts", "70", "--efficiency", "0.6").returncode == 0
    assert run("--host-watts", "0").stdout.startswith("### ")
    assert PAGE.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--card", "t4"), "give --watts and --efficiency"),
        (("--card", "voodoo 2"), "no card named"),
        (("--busy", "1.5"), "at most 1"),
        (("--price", "0"), "more than 0"),
        (("--check", "--price", "1"), "without other options"),
    ],
)
def test_a_mistake_is_told(words: tuple[str, ...], text: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert text in done.stderr
