"""Remote sources against a server that behaves like a hub, and one that does not."""

import contextlib
import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from aivailable.cli.main import main
from aivailable.clients.downloads import Remote, download
from aivailable.clients.hub import GGUF_HEADER_START_BYTES, ModelHub
from aivailable.controller.resolve import resolve
from aivailable.controller.sources import Sources
from aivailable.errors import AivailableError, PermanentError, RetryableError, UserError
from aivailable.model.fleet import Fleet, Variant
from aivailable.model.source import parse_source
from aivailable.model.transfer import Transfer
from aivailable.model.transfer import tell_nobody as quiet
from aivailable.settings import Settings
from aivailable.vram.headers import read_profile
from tests.clients.fakehub import REVISION, Hub, fake_hub
from tests.samples import fleet, model
from tests.weights import write_gguf, write_safetensors

SAFE, GGUF = "org/safe", "org/gguf"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = write_safetensors(tmp_path / "source", shards=2)
    with fake_hub() as running:
        running.files[SAFE] = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
        weights = write_gguf(tmp_path / "m.gguf").read_bytes()
        running.files[GGUF] = {"m.gguf": weights + bytes(100_000), "other.gguf": weights, "README.md": b"x"}
        yield running


@pytest.fixture
def settings(hub: Hub, tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state", hub_endpoint=hub.url)


def refused(settings: Settings, source: str) -> AivailableError:
    with pytest.raises(AivailableError) as caught:
        ModelHub(settings).locate(parse_source(source))
    assert caught.value.hint
    return caught.value


def test_a_safetensors_repository_is_pinned_and_profiled_from_its_headers(hub: Hub, settings: Settings) -> None:
    located = ModelHub(settings).locate(parse_source(f"hf:{SAFE}"))
    profile = read_profile(located.path)

    assert located.revision == REVISION
    assert not located.complete
    assert profile.weights_bytes == 2 * 32 * 64 * 2
    assert all(span for path, span in hub.data_requests() if path.endswith(".safetensors"))
    assert sum(path.endswith(".safetensors") for path, _ in hub.data_requests()) == 4  # length and header, twice


def test_a_gguf_is_profiled_from_its_first_bytes(hub: Hub, settings: Settings) -> None:
    hub.files[GGUF]["big.gguf"] = hub.files[GGUF]["m.gguf"] + bytes(3 * GGUF_HEADER_START_BYTES)
    located = ModelHub(settings).locate(parse_source(f"hf:{GGUF}@main:big.gguf"))

    assert read_profile(located.path).layers == 2
    assert hub.data_requests() == [
        (f"/{GGUF}/resolve/{REVISION}/big.gguf", f"bytes=0-{GGUF_HEADER_START_BYTES - 1}"),
    ]


def test_headers_are_asked_for_once(hub: Hub, settings: Settings) -> None:
    for _ in range(2):
        ModelHub(settings).locate(parse_source(f"hf:{GGUF}:m.gguf"))

    assert len(hub.data_requests()) == 1


def test_a_split_gguf_is_named_by_its_first_part_and_brought_whole(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    names = [f"s-{number:05d}-of-00002.gguf" for number in (1, 2)]
    hub.files["org/split"] = dict.fromkeys([*names, "s-00001-of-00003.gguf"], hub.files[GGUF]["other.gguf"])
    source = parse_source(f"hf:org/split:{names[0]}")

    located = ModelHub(settings).locate(source)
    path = ModelHub(settings).bring(source, tmp_path / "into", sha256=located.sha256, progress=quiet)

    assert read_profile(located.path).weights_bytes == 2 * read_profile(write_gguf(tmp_path / "one.gguf")).weights_bytes
    assert [file.name for file in sorted(path.parent.glob("[!.]*"))] == names
    assert path.name == names[0]


def test_a_node_source_lies_below_the_nodes_model_directory(settings: Settings) -> None:
    write_gguf(settings.models_folder / "qwen" / "m.gguf")

    assert Sources(settings).locate(parse_source("node:qwen/m.gguf")).complete
    for path in ("node:../x", "node:/etc/passwd"):
        with pytest.raises(UserError, match="leads out of"):
            Sources(settings).locate(parse_source(path))
    with pytest.raises(UserError, match="no such file"):
        Sources(settings).locate(parse_source("node:nope"))


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("hf:org/none", "there is no repository org/none, or it is private"),
        (f"hf:{SAFE}@v9", "has no revision v9"),
        (f"hf:{GGUF}", "holds no safetensors model"),
        (f"hf:{GGUF}:nope.gguf", "has no file nope.gguf"),
    ],
)
def test_what_is_not_there_is_explained(settings: Settings, source: str, part: str) -> None:
    error = refused(settings, source)

    assert isinstance(error, UserError)
    assert part in error.message


def test_hints_name_the_files_there_are(settings: Settings) -> None:
    assert "m.gguf, other.gguf" in refused(settings, f"hf:{GGUF}").hint


def test_a_gated_repository_says_what_to_do(hub: Hub, settings: Settings) -> None:
    hub.gated.add(SAFE)
    error = refused(settings, f"hf:{SAFE}")

    assert "gated" in error.message
    assert "HF_TOKEN" in error.hint


def test_a_hub_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    away = Settings(state=tmp_path, hub_endpoint="http://127.0.0.1:9")

    assert isinstance(refused(away, f"hf:{SAFE}"), RetryableError)


@pytest.mark.parametrize("claimed", [0, 10 * 1024**3, 2**63])
def test_a_header_that_claims_to_be_huge_is_refused_unread(hub: Hub, settings: Settings, claimed: int) -> None:
    name = next(name for name in hub.files[SAFE] if name.endswith(".safetensors"))
    hub.files[SAFE][name] = struct.pack("<Q", claimed) + hub.files[SAFE][name][8:]
    error = refused(settings, f"hf:{SAFE}")

    assert f"claims a header of {claimed} bytes" in error.message


def test_a_gguf_whose_header_never_reads_is_refused(hub: Hub, settings: Settings) -> None:
    hub.files[GGUF]["m.gguf"] = b"GGUF" + bytes(1000)

    assert "damaged or cut off" in refused(settings, f"hf:{GGUF}:m.gguf").message


def test_files_are_brought_verified_and_then_there_offline(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    source = parse_source(f"hf:{SAFE}")
    sha256 = ModelHub(settings).listing(source).sha256
    path = ModelHub(settings).bring(source, tmp_path / "into", sha256=sha256, progress=quiet)

    assert path == tmp_path / "into" / sha256
    assert {file.name: file.read_bytes() for file in path.glob("[!.]*")} == hub.files[SAFE]
    before = len(hub.requests)
    away = ModelHub(Settings(state=tmp_path, hub_endpoint="http://127.0.0.1:9"))
    assert away.bring(source, tmp_path / "into", sha256=sha256, progress=quiet) == path
    assert len(hub.requests) == before


def test_a_cut_transfer_goes_on_where_it_stopped(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    hub.cut_after = 30_000
    seen: list[Transfer] = []
    path = ModelHub(settings).bring(parse_source(f"hf:{GGUF}:m.gguf"), tmp_path / "into", progress=seen.append)

    assert path.read_bytes() == hub.files[GGUF]["m.gguf"]
    spans = [span for _, span in hub.data_requests()]
    assert spans[:3] == ["", "bytes=30000-", "bytes=60000-"]
    assert seen[-1].done_bytes == len(hub.files[GGUF]["m.gguf"])
    assert "(100 %)" in str(seen[-1])


def test_a_transfer_that_brings_nothing_is_given_up(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    hub.cut_after = 0
    with pytest.raises(RetryableError):
        ModelHub(settings).bring(parse_source(f"hf:{GGUF}:m.gguf"), tmp_path / "into", progress=quiet)
    assert len(hub.data_requests()) == 3


def test_a_server_that_ignores_ranges_still_serves(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    hub.ignore_ranges = True
    located = ModelHub(settings).locate(parse_source(f"hf:{SAFE}"))

    assert read_profile(located.path).layers == 2
    path = ModelHub(settings).bring(parse_source(f"hf:{GGUF}:m.gguf"), tmp_path / "into", progress=quiet)
    assert path.read_bytes() == hub.files[GGUF]["m.gguf"]


@pytest.mark.parametrize("lie", [1, 1000, -1, -1000])
def test_a_lying_length_never_passes(hub: Hub, settings: Settings, tmp_path: Path, lie: int) -> None:
    hub.lie_bytes = lie
    with pytest.raises(AivailableError):
        ModelHub(settings).bring(parse_source(f"hf:{GGUF}:m.gguf"), tmp_path / "into", progress=quiet)
    assert not list((tmp_path / "into").rglob("m.gguf"))


def test_changed_bytes_never_pass(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    hub.corrupt = True
    with pytest.raises(PermanentError, match="was promised"):
        ModelHub(settings).bring(parse_source(f"hf:{GGUF}:m.gguf"), tmp_path / "into", progress=quiet)
    assert not [file for file in (tmp_path / "into").rglob("*") if file.is_file() and file.name != ".lock"]


def test_a_repository_that_changed_since_the_plan_is_refused(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    source = parse_source(f"hf:{GGUF}:m.gguf")
    sha256 = ModelHub(settings).listing(source).sha256
    hub.files[GGUF]["m.gguf"] += b"!"
    with pytest.raises(PermanentError, match="not those of the plan"):
        ModelHub(settings).bring(source, tmp_path / "into", sha256=sha256, progress=quiet)


def test_an_https_file_is_brought_whole_and_filed_by_its_checksum(hub: Hub, settings: Settings) -> None:
    """The server of the test speaks plain HTTP; only the scheme of a source string must be https."""
    data = hub.files[GGUF]["m.gguf"]
    sha256 = hashlib.sha256(data).hexdigest()
    remote = Remote(name="m.gguf", url=f"{hub.url}/{GGUF}/resolve/main/m.gguf", size_bytes=len(data))
    target = settings.models_folder / sha256 / "m.gguf"

    assert download(remote, target, quiet) == sha256
    assert target.read_bytes() == data


def test_a_pinned_source_is_not_resolved_again_and_needs_no_network(hub: Hub, settings: Settings) -> None:
    wanted = fleet(model("m", variants=(Variant(source=f"hf:{GGUF}:m.gguf"),)))
    first = resolve(wanted, Sources(settings))
    resolved = first.models[0].variants[0].resolved
    assert resolved is not None
    assert (resolved.revision, resolved.path) == (REVISION, "")
    hub.files.clear()
    away = Sources(Settings(state=settings.state, hub_endpoint="http://127.0.0.1:9"))

    assert resolve(wanted, away, known=first) == first
    with pytest.raises(RetryableError, match="model m: source hf:org/gguf"):
        resolve(wanted, away, known=Fleet())


def test_the_verb_brings_and_prints_the_path(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIVAILABLE_HUB_ENDPOINT", hub.url)
    main_exits(["fetch", f"hf:{GGUF}:m.gguf", "--into", str(tmp_path / "into")], 0)
    printed = capsys.readouterr()

    assert Path(printed.out.strip()).read_bytes() == hub.files[GGUF]["m.gguf"]
    main_exits(["fetch", "hf:x", "--into", str(tmp_path)], 2)
    main_exits(["fetch", "hf:org/none", "--into", str(tmp_path)], 2)


def main_exits(arguments: list[str], code: int) -> None:
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as end:
        main(arguments)
    assert code == (end.value.code if end else 0)
