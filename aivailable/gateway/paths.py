"""The API paths that the gateway passes on, and which engine serves them."""

from aivailable.gateway.policies import Resource
from aivailable.model.fleet import Engine, ModelSpec
from aivailable.vram.hardware import engine_of

EXACT = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
"""The paths that are asked most have routes of their own: an exact match is the cheapest."""

OTHERS = (
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/rerank",
    "/tokenize",
    "/detokenize",
)
"""Paths that both engines have (llama.cpp: asked one by one; vLLM: its api_server's routes). Whether a model answers
there depends on how its engine was started: llama.cpp says 501 where it does not."""

AUDIO = ("/v1/audio/transcriptions", "/v1/audio/translations")
"""Paths whose bodies are forms with a file; of vLLM alone."""

VLLM_ONLY = ("/v1/score", "/pooling", "/classify")
"""Paths of vLLM alone (its documentation of the OpenAI-compatible server); other names of the same are left out:
Envoy refuses an expression as long as all of them (100 steps of RE2)."""


def groups() -> list[Resource]:
    """What routes match on, as the part of a match that says the path; JSON is sent there."""
    return [*({"path": path} for path in EXACT), _one_of((*OTHERS, *VLLM_ONLY))]


def audio() -> Resource:
    """The match of the paths to which forms are sent."""
    return _one_of(AUDIO)


def vllm_only() -> Resource:
    """The match of the paths that llama.cpp does not have."""
    return _one_of((*VLLM_ONLY, *AUDIO))


def serves_all(model: ModelSpec) -> bool:
    """Whether an engine of the model may be vLLM; a source that is not resolved may be anything."""
    return any(
        variant.resolved is None or engine_of(variant.resolved.profile) is Engine.VLLM for variant in model.variants
    )


def _one_of(paths: tuple[str, ...]) -> Resource:
    return {"safe_regex": {"regex": "|".join(paths)}}
