from pathlib import Path

import pytest

from aivailable.errors import UserError
from aivailable.model.profile import WeightsFormat
from aivailable.vram.gguf_header import LONG_ARRAY, HeaderReader
from aivailable.vram.headers import read_profile
from tests.weights import smollm2, write_gguf, write_safetensors


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_profile(path)
    assert caught.value.hint
    return caught.value.message


def test_the_profile_of_the_demo_model_is_exact() -> None:
    profile = read_profile(smollm2())

    assert (profile.layers, profile.heads, profile.kv_heads, profile.key_size) == (30, 9, 3, 64)
    assert (profile.vocabulary, profile.context_limit, profile.hidden_size) == (49152, 8192, 576)
    assert profile.weights_bytes == 66_355_200 + 30_081_024 + 140_544
    assert profile.weights_type == "Q4_1"
    assert profile.input_embedding_bytes == 0


def test_long_tokenizer_arrays_are_walked_over_and_still_counted(tmp_path: Path) -> None:
    profile = read_profile(write_gguf(tmp_path / "m.gguf", tokens=LONG_ARRAY + 10))

    assert profile.vocabulary == LONG_ARRAY + 10
    assert profile.weights_bytes == 2 * (LONG_ARRAY + 10) * 64 * 2 + 64 * 4


def test_reading_a_header_does_not_make_an_object_of_each_token() -> None:
    fields = HeaderReader(smollm2()).fields

    assert len(fields["tokenizer.ggml.tokens"].parts) < 10
    assert len(fields["tokenizer.ggml.merges"].parts) < 10


def test_input_embeddings_stay_in_host_memory_unless_they_are_the_output_too(tmp_path: Path) -> None:
    assert read_profile(write_gguf(tmp_path / "a.gguf")).input_embedding_bytes == 32 * 64 * 2
    assert read_profile(write_gguf(tmp_path / "b.gguf", tied=True)).input_embedding_bytes == 0


def test_a_split_gguf_is_read_by_its_first_part(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m-00001-of-00002.gguf")
    assert "missing parts: m-00002-of-00002.gguf" in refused(tmp_path / "m-00001-of-00002.gguf")
    write_gguf(tmp_path / "m-00002-of-00002.gguf")

    one = read_profile(write_gguf(tmp_path / "one.gguf"))
    assert read_profile(tmp_path / "m-00001-of-00002.gguf").weights_bytes == 2 * one.weights_bytes


@pytest.mark.parametrize("keep", [0.001, 0.2, 0.5, 0.9])
def test_a_cut_off_gguf_is_told(tmp_path: Path, keep: float) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    data = path.read_bytes()
    path.write_bytes(data[: max(4, int(len(data) * keep))])

    assert "damaged or cut off" in refused(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert "llama.context_length" in refused(write_gguf(tmp_path / "m.gguf", leave_out="context_length"))


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("block_count", "many", "llama.block_count: expected a whole number, got 'many'"),
        ("embedding_length", 2**32 - 1, "llama.embedding_length: expected a whole number"),
    ],
)
def test_a_number_that_is_none_is_named(tmp_path: Path, key: str, value: object, part: str) -> None:
    assert part in refused(write_gguf(tmp_path / "m.gguf", changed={key: value}))


def test_a_head_count_of_zero_and_a_file_without_tensors_are_no_traceback(tmp_path: Path) -> None:
    assert read_profile(write_gguf(tmp_path / "m.gguf", changed={"attention.head_count": 0})).heads == 1
    assert "holds no tensors" in refused(write_gguf(tmp_path / "n.gguf", tensors=False))


def test_a_text_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0ll\xffma", 1))

    assert "general.architecture: not UTF-8" in refused(path)


def test_a_model_in_two_layouts_is_counted_once(tmp_path: Path) -> None:
    folder = write_safetensors(tmp_path / "m")
    weights = next(folder.glob("*.safetensors"))
    (folder / "consolidated.safetensors").write_bytes(weights.read_bytes())
    weights.rename(folder / "model.safetensors")

    assert read_profile(folder).weights_bytes == 32 * 64 * 2


def test_an_index_without_a_weight_map_is_told(tmp_path: Path) -> None:
    folder = write_safetensors(tmp_path / "m")
    for text in ("{}", '{"weight_map": {}}', '{"weight_map": 3}'):
        (folder / "model.safetensors.index.json").write_text(text)
        assert "no key weight_map" in refused(folder)


def test_a_file_of_another_kind_or_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"hello")
    assert "neither a GGUF nor a safetensors file" in refused(tmp_path / "x.bin")
    (tmp_path / "empty.gguf").write_bytes(b"")
    assert "neither" in refused(tmp_path / "empty.gguf")
    assert "No such file" in refused(tmp_path / "nope.gguf")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_safetensors_folder_is_read(tmp_path: Path, shards: int) -> None:
    profile = read_profile(write_safetensors(tmp_path / "m", shards=shards, head_dim=32))

    assert profile.format is WeightsFormat.SAFETENSORS
    assert profile.architecture == "LlamaForCausalLM"
    assert profile.weights_bytes == shards * 32 * 64 * 2
    assert (profile.key_size, profile.kv_heads, profile.weights_type) == (32, 2, "F16")


def test_a_model_with_a_tower_keeps_its_numbers_one_level_down(tmp_path: Path) -> None:
    folder = write_safetensors(tmp_path / "m", text_config={"num_hidden_layers": 9}, num_hidden_layers=None)

    assert read_profile(folder).layers == 9


def test_what_is_wrong_with_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert "config.json" in refused(tmp_path / "a")
    folder = write_safetensors(tmp_path / "b", vocab_size=None)
    assert "no key vocab_size" in refused(folder)
    folder = write_safetensors(tmp_path / "c", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "missing model-00002-of-00002.safetensors" in refused(folder)
    folder = write_safetensors(tmp_path / "d")
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "damaged or cut off" in refused(folder)
    weights.unlink()
    assert "no .safetensors files" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "not JSON" in refused(folder)
