"""The gateway's documents as pure functions: golden files, order of publishing, what no input can break."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aivailable.gateway.clusters import CLUSTERS_FILE, load_assignment
from aivailable.gateway.keys import KEYS_FILE
from aivailable.gateway.mesh import IDENTITY_FILE
from aivailable.gateway.policies import Resource
from aivailable.gateway.publishing import File, Inputs, Publisher, files
from aivailable.gateway.routes import ROUTES_FILE, route_configuration
from aivailable.model.fleet import Fleet
from aivailable.model.names import MODEL_NAME, slug
from aivailable.model.service import ApiKey
from tests.gateway import examples
from tests.samples import fleet, model

GOLDEN = Path(__file__).parent / "golden"


def published(wanted: Fleet) -> list[File]:
    return files(Inputs(fleet=wanted, keys=(), instances=()), examples.SETTINGS, examples.POLICIES)


def routes_of(configuration: Resource) -> list[Resource]:
    """Every route of a configuration, in whatever list it stands."""
    (host,) = configuration["virtual_hosts"]
    if "routes" in host:
        return list(host["routes"])
    table = host["matcher"]["matcher_tree"]["exact_match_map"]["map"]["POST"]["matcher"]
    lists = [*table["matcher_tree"]["exact_match_map"]["map"].values(), table["on_no_match"]]
    return [route for one in lists for route in one["action"]["typed_config"]["routes"]]


@pytest.mark.parametrize("name", sorted(examples.documents()))
def test_a_document_reads_as_its_golden_file(name: str) -> None:
    assert examples.documents()[name] == (GOLDEN / name).read_text()


def test_there_is_no_golden_file_too_many() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(examples.documents())


def test_only_passing_instances_of_the_model_are_endpoints() -> None:
    text = json.dumps(load_assignment("qwen3-8b", examples.INSTANCES))

    assert '"port_value": 1' in text
    assert '"port_value": 2' in text
    assert '"port_value": 3' not in text
    assert '"port_value": 4' not in text  # it would refuse whoever has no certificate
    assert load_assignment("other", examples.INSTANCES)["endpoints"] == [{"lb_endpoints": []}]


def test_where_every_key_may_use_a_model_its_routes_carry_no_rights() -> None:
    keys = (ApiKey(id="alice", secret="s"), ApiKey(id="bob", secret="t"))
    text = json.dumps(route_configuration(examples.FLEET, keys, examples.SETTINGS, examples.POLICIES))

    assert "rbac" not in text


def test_a_model_that_no_key_may_use_lets_nobody_in() -> None:
    keys = (ApiKey(id="bob", secret="t", models=("other",)),)
    made = route_configuration(fleet(model("m")), keys, examples.SETTINGS, examples.POLICIES)
    rules = [r["typed_per_filter_config"] for r in routes_of(made) if r["name"] == "m" and "route" in r]

    assert len(rules) == 5  # three paths of their own, two groups
    assert '"exact": ""' in json.dumps(rules[0])


def test_while_no_certificate_is_known_the_endpoints_of_an_earlier_run_stay() -> None:
    inputs = Inputs(fleet=examples.FLEET, keys=examples.KEYS, instances=examples.INSTANCES)
    names = [file.name for file in files(inputs, examples.SETTINGS, examples.POLICIES)]

    assert names == [ROUTES_FILE, "limits.json", KEYS_FILE]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.from_regex(MODEL_NAME, fullmatch=True).filter(slug), max_size=5, unique_by=slug))
def test_every_route_leads_to_a_cluster_that_is_published(names: list[str]) -> None:
    made = {f.name: f for f in published(fleet(*map(model, names)))}
    clusters = {cluster["name"] for cluster in made[CLUSTERS_FILE].resources}
    routes = routes_of(made[ROUTES_FILE].resources[0])

    assert {route["route"]["cluster"] for route in routes if "route" in route} <= clusters


def test_only_what_changed_is_written_and_keys_for_their_owner_only(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)

    assert publisher.publish(examples.published())[-1] == KEYS_FILE
    assert publisher.publish(examples.published()) == []
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in (KEYS_FILE, IDENTITY_FILE)] == [0o600, 0o600]
    assert (tmp_path / ROUTES_FILE).stat().st_mode & 0o777 == 0o644


def test_a_new_model_is_a_cluster_before_it_is_a_route_and_a_removed_one_leaves_the_routes_first(
    tmp_path: Path,
) -> None:
    publisher = Publisher(tmp_path)
    one, two = fleet(model("a")), fleet(model("a"), model("b"))

    def publish(wanted: Fleet) -> list[str]:
        return publisher.publish(published(wanted))

    publish(one)
    assert publish(two) == ["endpoints_b.json", CLUSTERS_FILE, ROUTES_FILE]
    assert publish(one) == [ROUTES_FILE, CLUSTERS_FILE]
    assert not (tmp_path / "endpoints_b.json").exists()
