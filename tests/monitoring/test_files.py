"""The files of `monitoring/`: complete, told of in the docs, and taken by Prometheus' own checker."""

import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from aivailable.controller.metrics import Metrics
from aivailable.gateway.feeder_metrics import STALE
from aivailable.rendering import render_prometheus
from aivailable.settings import Settings
from tests.monitoring.configuration import configuration, with_static_targets
from tests.monitoring.queries import MONITORING, alerts, dashboard, filled, panels
from tests.processes import ROOT
from tests.rendering.test_jobs import parsed

DOCS = (ROOT / "docs" / "monitoring.md").read_text()
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (tests/setup.sh)")


def promtool(*words: str | Path) -> str:
    done = subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, check=False, timeout=60, cwd=MONITORING
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_waits_says_what_it_means_and_is_in_the_docs(alert: dict[str, Any]) -> None:
    assert re.fullmatch(r"[1-9]\d*m", alert["for"])
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description"}
    assert f"`{alert['alert']}`" in DOCS


def test_the_docs_tell_of_no_alert_that_there_is_not() -> None:
    table = DOCS[DOCS.index("## Alerts") : DOCS.index("## The dashboard")]
    told = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))

    assert told == {alert["alert"] for alert in alerts()}


def test_every_metric_of_ours_is_in_the_docs_with_its_labels() -> None:
    registry: CollectorRegistry = Metrics(dict).registry
    ours = {STALE}
    for family in registry.collect():
        ours.add(f"{family.name}_total" if family.type == "counter" else family.name)
    told = set(re.findall(r"^\| `(aivailable_\w+)`", DOCS, re.MULTILINE))

    assert told == ours


def test_the_dashboard_can_be_imported_anywhere() -> None:
    made = dashboard()
    variables = {variable["name"]: variable for variable in made["templating"]["list"]}

    assert made["id"] is None
    assert variables["datasource"]["type"] == "datasource"
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    for panel in panels():
        assert panel["title"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}


def test_no_panel_lies_on_another() -> None:
    def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}

    for one, other in combinations(dashboard()["panels"], 2):
        assert not cells(one) & cells(other), f"{one['title']}, {other['title']}"


@PROMTOOL
def test_prometheus_takes_the_alerts_and_they_fire_when_they_should() -> None:
    promtool("check", "rules", MONITORING / "alerts.yml")
    promtool("test", "rules", Path(__file__).parent / "alerts_test.yml")


def test_every_alert_is_tried_firing_and_silent() -> None:
    tried = yaml.safe_load((Path(__file__).parent / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tried for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}

    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


@PROMTOOL
def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel_{panel['id']}_{target['refId']}", "expr": filled(target["expr"])}
        for panel in panels()
        for target in panel["targets"]
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


@PROMTOOL
@pytest.mark.parametrize("alertmanager", ["", "alerts.lab:9093"])
def test_prometheus_takes_the_configuration(tmp_path: Path, alertmanager: str) -> None:
    """But for where the targets come from: Debian's build does not know Consul."""
    made = with_static_targets(configuration(Settings(alertmanager=alertmanager), "127.0.0.1:8081"), {})
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(made))
    shutil.copy(MONITORING / "alerts.yml", tmp_path)

    assert "11 rules found" in promtool("check", "config", tmp_path / "prometheus.yml")
    assert ("alerting" in made) == bool(alertmanager)


def test_the_job_holds_both_files_and_nomad_leaves_the_alerts_as_they_are() -> None:
    (group,) = parsed(render_prometheus(Settings()).text)["group"][0].values()
    (task,) = group["task"][0].values()
    files = {file["destination"]: file for file in task["template"]}
    alerts_text = (MONITORING / "alerts.yml").read_text()

    assert files["local/alerts.yml"]["data"].strip() == alerts_text.strip()
    assert "[[" not in alerts_text
    assert "CONSUL'" not in files["local/prometheus.yml"]["data"]
    assert "GATEWAY'" not in files["local/prometheus.yml"]["data"]
