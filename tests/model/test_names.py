import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivailable.model.fleet import Engine
from aivailable.model.names import MODEL_NAME, slug, unsafe_in_job
from aivailable.model.replica import ReplicaSpec
from tests.samples import model, variant

NAMES = st.from_regex(MODEL_NAME, fullmatch=True)


@given(NAMES)
def test_a_slug_serves_dns_and_job_ids(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9](-|[a-z0-9])*|", slug(name))
    assert len(slug(name)) <= 40


def test_a_slug_of_a_hub_name() -> None:
    assert slug("Qwen/Qwen2.5-7B-Instruct") == "qwen-qwen2-5-7b-instruct"


@pytest.mark.parametrize("text", ["${NOMAD_SECRETS_DIR}", "$${X}", "%{ for }", "a\nb", "a\x00", "\u2028", "\x85"])
def test_what_nomad_would_interpolate_or_print_is_unsafe(text: str) -> None:
    assert unsafe_in_job(text)


@pytest.mark.parametrize("text", ["plain", 'a"b', "a\\b", "$5", "{x}", "ü", "a $ {b}"])
def test_ordinary_text_is_safe(text: str) -> None:
    assert unsafe_in_job(text) is None


def test_a_spec_hash_follows_what_the_user_asked_for_and_nothing_else() -> None:
    base = ReplicaSpec(
        model="m",
        variant=model().variants[0],
        engine=Engine.LLAMACPP,
        context=1,
        concurrency=1,
        driver="d",
        mesh="none",
    )
    resolved = base.variant.resolved
    assert resolved is not None
    elsewhere = replace(base.variant, resolved=replace(resolved, path="/other"))
    assert replace(base, variant=elsewhere).hash8 == base.hash8
    assert replace(base, context=2).hash8 != base.hash8
    assert replace(base, variant=variant(resolved.profile, flags=("--x",))).hash8 != base.hash8
