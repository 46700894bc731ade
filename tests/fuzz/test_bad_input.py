"""Whatever comes in: an answer or an error of ours, never a traceback, never a hang."""

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aivailable.devices.simulated import load_nodes
from aivailable.documents import load_fleet, load_snapshot, snapshot_document
from aivailable.embedded.jobspec import parse_job
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.errors import AivailableError, UserError
from aivailable.fleetfile import parse_fleet
from aivailable.keystore import create_key, read_keys
from aivailable.model.source import parse_source
from aivailable.settings import load
from aivailable.vram.headers import read_profile
from tests.embedded.jobs import job
from tests.samples import rack
from tests.weights import write_gguf, write_safetensors

BOUNDED = settings(max_examples=80, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""`deadline` in milliseconds: one example may take a second, no more."""

PIECES = st.sampled_from(
    [
        *("[[model]]", "[cluster]", "[[model.variant]]", "[[node]]", "[[node.card]]", 'name = "m"', "replicas = 2"),
        *('source = "./m"', "flags = [1]", "where = {}", 'vendor = "amd"', "memory_mib = 1", "memory_mib = 1e400"),
        *("context = nan", "priority = -1", "replicas = 9999999999999999999", 'name = "\\u0000"', "x = 1979-05-27"),
        *('resolved = { profile = { layers = "x" } }', "gfx = []", "=", "[", '"""', "\\"),
    ]
)
TOML = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("\n".join))


def survives(call: Callable[[], object]) -> None:
    """Runs, or fails with a message and a hint of ours."""
    try:
        call()
    except AivailableError as error:
        told = error
    else:
        return
    assert told.message
    assert told.hint


@BOUNDED
@given(TOML)
def test_fleet_and_inventory_files(text: str) -> None:
    survives(lambda: parse_fleet(text, where="x"))
    survives(lambda: load_nodes(text, where="x"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["nodes", "replicas", "cards", "a"]), inner)
    ),
    max_leaves=10,
)


@BOUNDED
@given(st.one_of(st.binary(max_size=40), JSON.map(lambda value: json.dumps(value).encode())))
def test_documents(data: bytes) -> None:
    survives(lambda: load_fleet(data, where="x"))
    survives(lambda: load_snapshot(data, where="x"))


@BOUNDED
@given(st.data())
def test_a_snapshot_with_one_value_changed(data: st.DataObject) -> None:
    document = snapshot_document(rack())
    node = data.draw(st.sampled_from(document["nodes"]))
    place = data.draw(st.sampled_from([node, *node["cards"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)

    survives(lambda: load_snapshot(json.dumps(document).encode(), where="x"))


def test_json_that_is_nested_without_end() -> None:
    for text in (b"[" * 100_000, b'{"nodes":' * 100_000):
        survives(lambda text=text: load_fleet(text, where="x"))  # type: ignore[misc] # a default binds the loop's value
        survives(lambda text=text: load_snapshot(text, where="x"))  # type: ignore[misc] # as above


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_gguf_headers_with_changed_bytes_and_cut_off(
    tmp_path: Path, changes: list[tuple[int, int]], keep: float
) -> None:
    good = tmp_path / "good.gguf"
    data = bytearray((good if good.exists() else write_gguf(good)).read_bytes())
    for place, value in changes:
        data[place % 900] = value
    (tmp_path / "bad.gguf").write_bytes(data[: max(8, int(len(data) * (0.2 + keep)))])

    survives(lambda: read_profile(tmp_path / "bad.gguf"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(struct.pack("<IQQ", 3, 2**62, 2**62), id="counts beyond measure"),
        pytest.param(struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63), id="a key of 8 EiB"),
        pytest.param(
            struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 9)
            + struct.pack("<IQ", 9, 1) * 50_000,
            id="arrays in arrays without end",
        ),
        pytest.param(
            struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 4, 2**61),
            id="an array of 2^61 numbers",
        ),
        pytest.param(
            struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 4)
            + struct.pack("<QQQQ", *[2**60] * 4) + struct.pack("<IQ", 0, 0),
            id="a tensor beyond measure",
        ),
    ],
)  # fmt: skip
def test_gguf_headers_made_to_hurt(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + body)

    with pytest.raises(UserError):
        read_profile(path)


@BOUNDED
@given(st.one_of(st.binary(max_size=64), st.integers(0, 2**64 - 1).map(lambda n: struct.pack("<Q", n) + b"{}" * 20)))
def test_safetensors_headers(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "m"
    if not folder.exists():
        write_safetensors(folder)
    next(folder.glob("*.safetensors")).write_bytes(data)

    survives(lambda: read_profile(folder))


CONFIG_VALUES = st.one_of(JSON, st.sampled_from([0, -1, 2**70, "x", 1e308]))


@BOUNDED
@given(
    st.dictionaries(
        st.sampled_from(
            ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "architectures", "text_config"]
        ),
        CONFIG_VALUES,
    )
)
def test_configurations(tmp_path: Path, changed: dict[str, object]) -> None:
    survives(lambda: read_profile(write_safetensors(tmp_path / "m", **changed)))


@BOUNDED
@given(st.text(max_size=30))
def test_sources_keys_and_settings(tmp_path: Path, text: str) -> None:
    secrets = EmbeddedSecrets(tmp_path)
    before = read_keys(secrets)
    with contextlib.suppress(ValueError):
        parse_source(text)
    survives(lambda: load({"AIVAILABLE_GATEWAY_PORT": text}))
    survives(lambda: load({f"AIVAILABLE_{text}": "1"}))
    try:
        create_key(secrets, text)
    except UserError:
        assert read_keys(secrets) == before


@BOUNDED
@given(st.integers(0, 1500), st.text(st.sampled_from(list('{}[]"=$%<>\n a1')), max_size=12))
def test_job_texts(place: int, inserted: str) -> None:
    good = job()
    survives(lambda: parse_job(good[:place] + inserted + good[place:]))
