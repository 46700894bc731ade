import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.errors import UserError
from aivailable.fleetfile import dump_fleet_file, parse_fleet
from aivailable.model.fleet import Fleet, ModelSpec, Variant, Where
from aivailable.model.names import MODEL_NAME, slug, unsafe_in_job
from tests.samples import EIGHT_B, fleet, model

ONE = '[[model]]\nname = "m"\n[[model.variant]]\nsource = "./m.gguf"\n'


def refused(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_fleet(text, where="fleet.toml")
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return str(caught.value)


def test_the_example_of_the_design_is_read() -> None:
    text = """
    [cluster]
    mesh   = "bridge"
    driver = "docker"

    [[model]]
    name = "qwen3-8b"
    replicas = 2
    min_available = 1
    priority = 50
    context = 8192
    concurrency = 8
    where = { vendor = "nvidia", card = "*3090*", class = "gpu" }
    [[model.variant]]
    source = "hf:Qwen/Qwen3-8B"
    [[model.variant]]
    source = "hf:unsloth/Qwen3-8B-GGUF:Qwen3-8B-Q4_K_M.gguf"
    flags = ["--enable-prefix-caching"]
    """

    assert parse_fleet(text, where="fleet.toml") == Fleet(
        mesh="bridge",
        driver="docker",
        models=(
            ModelSpec(
                name="qwen3-8b",
                replicas=2,
                min_available=1,
                where=Where(vendor="nvidia", card="*3090*", node_class="gpu"),
                variants=(
                    Variant(source="hf:Qwen/Qwen3-8B"),
                    Variant(source="hf:unsloth/Qwen3-8B-GGUF:Qwen3-8B-Q4_K_M.gguf", flags=("--enable-prefix-caching",)),
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param(ONE + "x = [", ["fleet.toml: not TOML", "end of document"], id="not TOML"),
        pytest.param("modell = 1", ["fleet.toml: modell: unknown key", "did you mean `model`?"], id="top key"),
        pytest.param(
            ONE.replace("[[model.v", "replica = 2\n[[model.v"),
            ["model[0].replica: unknown key", "`replicas`"],
            id="model key",
        ),
        pytest.param(ONE + 'flag = ["-x"]', ["model[0].variant[0].flag: unknown key", "`flags`"], id="variant key"),
        pytest.param(
            ONE.replace("[[model.v", 'where = { clas = "a" }\n[[model.v'),
            ["model[0].where.clas: unknown key", "`class`"],
            id="where key",
        ),
        pytest.param(
            ONE.replace("[[model.v", 'replicas = "2"\n[[model.v'),
            ["model[0].replicas", "valid integer", "got '2'"],
            id="type",
        ),
        pytest.param(
            ONE.replace("[[model.v", "replicas = 0\n[[model.v"), ["model[0].replicas", "got 0"], id="zero replicas"
        ),
        pytest.param(
            ONE.replace("[[model.v", "min_available = 2\n[[model.v"), ["min_available = 2", "replicas = 1"], id="min"
        ),
        pytest.param(ONE + ONE, ["'m' occurs twice"], id="same name"),
        pytest.param(
            ONE.replace('"m"', '"a/b"') + ONE.replace('"m"', '"a.b"'), ["'a/b' and 'a.b' share the slug"], id="slug"
        ),
        pytest.param(ONE.replace('"m"', '"m ${x}"'), ["model[0].name", "letter or digit"], id="name"),
        pytest.param(ONE.replace("./m.gguf", "./${x}.gguf"), ["variant[0].source", "forbidden", "`${`"], id="source"),
        pytest.param(ONE + 'flags = ["--a=%{x}"]', ["flags[0]", "forbidden", "`%{`"], id="flag"),
        pytest.param(ONE + 'flags = ["a\\nb"]', ["flags[0]", "control characters"], id="control"),
        pytest.param(ONE + 'flags = ["--ctx-size=9"]', ["--ctx-size is set by the plan", "`context`"], id="owned"),
        pytest.param(ONE.replace("./m.gguf", "hf:x"), ["variant[0].source", "hf:ORG/NAME"], id="hub form"),
        pytest.param('[[model]]\nname = "m"', ["model[0].variant: missing", "add `variant`"], id="no variant"),
        pytest.param(ONE + "resolved = { sha256 = 1 }", ["variant[0].resolved", "revision"], id="resolved"),
        pytest.param("[cluster]\nmesh = 'ring'", ["cluster.mesh", "'bridge', 'host' or 'none'", "'ring'"], id="mesh"),
    ],
)
def test_a_mistake_is_told_with_file_key_path_expectation_and_nearest_name(text: str, parts: list[str]) -> None:
    message = refused(text)
    for part in parts:
        assert part in message


def test_a_resolved_fleet_survives_the_file() -> None:
    full = fleet(model("big", EIGHT_B), model("small"), mesh="none", driver="raw_exec")

    assert parse_fleet(dump_fleet_file(full, resolved=True), where="x") == full


SAFE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20)
FLAGS = st.lists(SAFE.filter(lambda t: unsafe_in_job(t) is None).map(lambda t: f"--x-{t}"), max_size=3)
MODELS = st.builds(
    ModelSpec,
    name=st.from_regex(MODEL_NAME, fullmatch=True).filter(slug),
    variants=st.lists(
        st.builds(Variant, source=st.just("./m.gguf"), flags=FLAGS.map(tuple)), min_size=1, max_size=2
    ).map(tuple),
    replicas=st.integers(1, 9),
    min_available=st.sampled_from([None, 0, 1]),
    priority=st.integers(1, 100),
    context=st.integers(16, 100_000),
    concurrency=st.integers(1, 256),
    where=st.builds(Where, vendor=st.sampled_from([None, "nvidia", "amd"]), card=st.sampled_from([None, "*3090*"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(MODELS, max_size=3, unique_by=lambda m: slug(m.name)))
def test_whatever_is_written_is_read_back(models: list[ModelSpec]) -> None:
    written = Fleet(models=tuple(models))

    assert parse_fleet(dump_fleet_file(written), where="x") == written


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_a_fleet_or_a_user_error(text: str) -> None:
    with contextlib.suppress(UserError):
        parse_fleet(text, where="x")
