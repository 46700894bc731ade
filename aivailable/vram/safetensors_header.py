"""The headers of safetensors files and the `config.json` beside them."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from aivailable.errors import UserError
from aivailable.model.profile import Experts, Profile, WeightsFormat
from aivailable.vram.encoders import is_encoder_tensor, tower_of
from aivailable.vram.families import Config, kv_layers, mlp_width, quantization, state_bytes

DTYPE_BITS = {
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "F32": 32,
    "I32": 32,
    "U32": 32,
    "F16": 16,
    "BF16": 16,
    "I16": 16,
    "U16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "I8": 8,
    "U8": 8,
    "BOOL": 8,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F4": 4,
}
"""Bits of one element, by the dtype names of the safetensors format."""

GENERATES = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ForVision2Seq", "ChatModel")
"""How architectures that answer with text are named; all others answer with an embedding or a score."""

STATE_ONLY = ("mamba", "mamba2", "falcon_mamba")

_EXPERT = re.compile(r"(.*?layers\.\d+)\..*experts\.(?!gate)(?!.*shared)")
_COPIED = re.compile(r"\.(q_a_proj|kv_a_proj_with_mqa|fused_qkv_a_proj|gate|router|\w*norm\w*)\.(weight|bias)")
"""Tensors that tensor parallel copies whole: MLA's down-projections, routers, norms (vLLM's ReplicatedLinear)."""

INDEX = "model.safetensors.index.json"

NUMBER_MAX = 2**31
"""No layer count, width or vocabulary is near it; larger ones would make footprints absurd."""


def read_safetensors(folder: Path, *, only: Path | None = None) -> Profile:
    """The profile of a folder in the hub's layout; `only` restricts it to one file.

    Raises:
        UserError: No `config.json`, no weights, a file missing or cut off, or a key missing.
    """
    whole = _json(folder / "config.json", "a safetensors model needs its config.json beside it")
    tensors = _Tensors()
    for file in [only] if only else _files(folder):
        for name, dtype, elements in _tensors(file):
            tensors.add(name, dtype, elements)
    if not tensors.total:
        raise UserError(f"{folder}: its safetensors files hold no tensors", hint="download all files of the model")
    config = Config(_language_model(whole))
    need = _Numbers(config, folder / "config.json")
    named = whole.get("architectures")
    architecture = str(named[0] if isinstance(named, list) and named else whole.get("model_type", "unknown"))
    layers, heads, hidden_size = need.whole("num_hidden_layers"), need.heads(), need.whole("hidden_size")
    head_size = need.whole("head_dim", default=max(1, hidden_size // heads))
    kv = kv_layers(config, layers, need.whole("num_key_value_heads", default=need.kv_heads(heads)), head_size)
    exported = folder / "hf_quant_config.json"
    return Profile(
        format=WeightsFormat.SAFETENSORS,
        architecture=architecture,
        weights_bytes=tensors.total,
        input_embedding_bytes=0,
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=kv[0].kv_heads,
        key_size=kv[0].key_size,
        value_size=kv[0].value_size,
        vocabulary=need.whole("vocab_size"),
        context_limit=need.whole("max_position_embeddings"),
        weights_type=tensors.bytes_by_type.most_common(1)[0][0],
        quantization=quantization(whole, _json(exported, "download it again") if exported.is_file() else {}),
        intermediate_size=mlp_width(config),
        kv_layers=kv if len(kv) > 1 or kv[0].layers != layers or kv[0].latent or kv[0].window else (),
        experts=tensors.experts(config),
        tower=tower_of(whole, tensors.encoder_bytes),
        replicated_bytes=tensors.copied_bytes,
        state_bytes=state_bytes(config, layers, hidden_size),
        pooling=not architecture.endswith(GENERATES) or (folder / "1_Pooling").is_dir(),
    )


class _Tensors:
    """What the tensors of all files add up to."""

    def __init__(self) -> None:
        self.bytes_by_type: Counter[str] = Counter()
        self.encoder_bytes = 0
        self.copied_bytes = 0
        self._expert_bytes = 0
        self._expert_layers: set[str] = set()

    @property
    def total(self) -> int:
        return self.bytes_by_type.total()

    def add(self, name: str, dtype: str, elements: int) -> None:
        size = elements * DTYPE_BITS.get(dtype, 16) // 8
        self.bytes_by_type[dtype] += size
        if is_encoder_tensor(name):
            self.encoder_bytes += size
        elif found := _EXPERT.match(name):
            self._expert_bytes += size
            self._expert_layers.add(found[1])
        elif _COPIED.search(name):
            self.copied_bytes += size

    def experts(self, config: Config) -> Experts | None:
        count, width = config.number("experts"), config.number("expert_width") or config.number("intermediate_size")
        if not count or not width or not self._expert_layers:
            return None
        return Experts(layers=len(self._expert_layers), count=count, width=width, stored_bytes=self._expert_bytes)


class _Numbers:
    """The numbers of a configuration, with errors that name file and key."""

    def __init__(self, config: Config, path: Path) -> None:
        self._config = config
        self._path = path

    def whole(self, key: str, *, default: int | None = None) -> int:
        """A whole number from 1 on; absent or null gives the default where there is one."""
        value = self._config.number(key)
        raw = self._config.values.get(key)
        if value is None and raw is None and default is not None:
            return default
        if value is None and raw is None:
            raise UserError(f"{self._path}: no key {key}", hint="this kind of model is not understood yet; report it")
        if value is None or not 1 <= value <= NUMBER_MAX:
            raise UserError(f"{self._path}: {key}: expected a whole number, got {raw!r:.40}", hint="correct the file")
        return value

    def heads(self) -> int:
        """Attention heads; a model without attention counts as one."""
        return self.whole("num_attention_heads", default=1 if self._config.kind in STATE_ONLY else None)

    def kv_heads(self, heads: int) -> int:
        """KV heads where the file does not say: one with multi-query attention (Falcon), else as many as heads."""
        return 1 if self._config.values.get("multi_query") is True else heads


def _language_model(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part, which models with an encoder keep one level down."""
    for key in ("text_config", "llm_config", "language_config"):
        if isinstance(part := config.get(key), dict):
            return {**config, **part}
    return config


def _json(path: Path, hint: str) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}", hint="download it again") from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected a JSON object", hint="download it again")
    return document


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.is_file():
        weight_map = _json(index, "download it again").get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(f"{index}: no key weight_map", hint="download it again")
        names = {str(name) for name in weight_map.values()}
        files = [folder / Path(name).name for name in sorted(names)]
        if missing := [file.name for file in files if not file.is_file()]:
            raise UserError(f"{folder}: missing {', '.join(missing)}", hint="download all files of the model")
        return files
    # Without an index one file is the whole model; some repositories hold it a second time in its maker's own layout.
    if (single := folder / "model.safetensors").is_file():
        return [single]
    if files := sorted(folder.glob("*.safetensors")):
        return files
    raise UserError(f"{folder}: no .safetensors files", hint="name a folder with config.json and .safetensors files")


def _tensors(file: Path) -> list[tuple[str, str, int]]:
    """Name, dtype and element count of every tensor in a file."""
    try:
        with safe_open(file, framework="np") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
            return [(name, str(part.get_dtype()), math.prod(part.get_shape())) for name, part in slices.items()]
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file}: the safetensors file is damaged or cut off: {error}", hint="download it again"
        ) from error
