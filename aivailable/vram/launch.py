"""How an engine is launched, as far as its memory depends on it."""

import re
from dataclasses import dataclass
from itertools import pairwise

from aivailable.model.cards import Card
from aivailable.model.fleet import Engine
from aivailable.vram.hardware import image

VLLM_LARGE_CARD_MIB = 70 * 1024
"""From this size on, A100s excepted, vLLM batches more by default (its arg_utils.py)."""

VLLM_BATCHED_TOKENS = 2048
VLLM_BATCHED_TOKENS_LARGE = 8192
"""vLLM's defaults of `--max-num-batched-tokens` for a server, in tokens (its arg_utils.py)."""

V0_PREFILL_TOKENS = 32_768
"""Up to this context vLLM's V0 engine took a whole prompt at once; above, chunks (its arg_utils.py up to 0.8)."""

LLAMACPP_UBATCH = 512
"""llama.cpp's default physical batch (`-ub`), in tokens."""

NEWEST: tuple[int, ...] = (9999,)
"""Stands for a version that is not known: the newest behaviour is taken."""

V1_ENGINE = (0, 8, 0)
"""The version of vLLM that made its V1 engine the default (release notes)."""

ELEMENT_BYTES = {
    "auto": 2.0,
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes of one element of the KV cache by the engine's name of its type; llama.cpp's are blocks of 32 with their
scales (ggml-common.h). `auto` is the model's own 16 bits. Names that begin with `fp8` take one byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One engine process on `cards` equal cards.

    `context` is the tokens one request may use, `concurrency` how many such requests are held at once (vLLM's
    `--max-num-seqs`, llama.cpp's `-np`). `batched_tokens` is what one step computes at most (vLLM's
    `--max-num-batched-tokens`, llama.cpp's `-ub`); 0 stands for the engine's default. `key_type` and `value_type` name
    the KV cache's element type as the engine does. `eager`: no CUDA graphs.
    """

    engine: Engine
    card: Card
    context: int
    concurrency: int
    cards: int = 1
    version: tuple[int, ...] = NEWEST
    batched_tokens: int = 0
    key_type: str = "auto"
    value_type: str = "auto"
    eager: bool = False
    flash_attention: bool = True

    @property
    def large_card(self) -> bool:
        """Whether vLLM takes this card's class for one that batches more."""
        return self.card.total_mib >= VLLM_LARGE_CARD_MIB and "a100" not in self.card.name.lower()

    @property
    def step_tokens(self) -> int:
        """Tokens that one step computes at most."""
        if self.batched_tokens:
            return self.batched_tokens
        if self.engine is Engine.LLAMACPP:
            return LLAMACPP_UBATCH
        if self.version < V1_ENGINE:
            return max(self.context, VLLM_BATCHED_TOKENS) if self.context <= V0_PREFILL_TOKENS else VLLM_BATCHED_TOKENS
        default = VLLM_BATCHED_TOKENS_LARGE if self.large_card else VLLM_BATCHED_TOKENS
        # vLLM's own cap: no step is larger than all sequences at full length.
        return max(1, min(default, self.context * self.concurrency))


def element_bytes(type_name: str) -> float:
    """Bytes of one KV element; an unknown type counts as 16 bits, the largest in use."""
    return 1.0 if type_name.startswith("fp8") else ELEMENT_BYTES.get(type_name, 2.0)


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of a version as engines and image tags write it (`v0.32.0`, `0.8.5.post1`); `NEWEST` without any."""
    found = re.search(r"(?<![\d.])(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else NEWEST


def planned(
    *, engine: Engine, card: Card, context: int, concurrency: int, cards: int = 1, flags: tuple[str, ...] = ()
) -> Launch:
    """The launch that the planned flags give; of `flags`, the user's own, those that change the memory count too."""
    given = _given(flags)
    batched = given.get("--max-num-batched-tokens") or given.get("-ub") or given.get("--ubatch-size") or ""
    both = given.get("--kv-cache-dtype", "auto")
    return Launch(
        engine=engine,
        card=card,
        context=context,
        concurrency=concurrency,
        cards=cards,
        version=version_of(image(engine, card).rpartition(":")[2]),
        batched_tokens=int(batched) if batched.isdigit() else 0,
        key_type=given.get("-ctk") or given.get("--cache-type-k") or both,
        value_type=given.get("-ctv") or given.get("--cache-type-v") or both,
        eager="--enforce-eager" in given,
        flash_attention=(given.get("-fa") or given.get("--flash-attn") or "on") not in ("off", "0"),
    )


def _given(flags: tuple[str, ...]) -> dict[str, str]:
    """Each flag with the word after it (`--a b` and `--a=b`); the last one wins."""
    found: dict[str, str] = {}
    for flag, following in pairwise((*flags, "")):
        if flag.startswith("-"):
            name, equals, value = flag.partition("=")
            found[name] = value if equals else "" if following.startswith("-") else following
    return found
