"""Page, alert rules and dashboard name the metrics that the service exports, and no other."""

import json
import re
import shutil
import subprocess
from typing import Any, Final

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from certrad.models.errors import PROBLEMS
from certrad.workers.contract.totals import FAULTS
from tests.support.metrics import sample_names, table
from tests.support.processes import ROOT

MONITORING: Final = ROOT / "deploy" / "monitoring"
PAGE: Final = ROOT / "docs" / "monitoring.md"
METRIC: Final = re.compile(r"\bcertrad_[a-z_]+")
ALERTS: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
PANELS: Final[list[dict[str, Any]]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
EXPRESSIONS: Final = {
    **{rule["alert"]: rule["expr"] for rule in ALERTS},
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
}


@pytest.fixture
def metrics(api: TestClient) -> CollectorRegistry:
    """The registry of a service that has answered a request, and refused an upload."""
    api.get("/tasks")
    api.post("/certify", content=b"")
    registry: CollectorRegistry = api.app.state.services.metrics  # type: ignore[attr-defined]  # it is a FastAPI
    return registry


@pytest.mark.integration
def test_the_page_lists_every_metric_that_is_exported(metrics: CollectorRegistry) -> None:
    listed = PAGE.read_text("utf-8").partition("<!-- metrics -->\n")[2].partition("<!-- end of metrics -->")[0]
    assert listed.strip() == table(metrics)


@pytest.mark.integration
def test_every_alert_and_panel_names_exported_metrics_only(metrics: CollectorRegistry) -> None:
    exported = sample_names(metrics)
    for name, expression in EXPRESSIONS.items():
        used = set(METRIC.findall(expression))
        assert used, name
        assert used <= exported, name


@pytest.mark.integration
def test_one_panel_shows_everything_that_is_exported_about_callbacks(metrics: CollectorRegistry) -> None:
    exported = {name for name in sample_names(metrics) if name.startswith("certrad_callbacks_")}
    shown = [set(METRIC.findall(" ".join(target["expr"] for target in panel["targets"]))) for panel in PANELS]
    assert [names for names in shown if names & exported] == [exported]


@pytest.mark.integration
def test_the_alert_about_failures_sees_the_first_one_of_each_code(metrics: CollectorRegistry) -> None:
    (expression,) = [rule["expr"] for rule in ALERTS if rule["alert"] == "CertradJobsFail"]
    (codes,) = re.findall(r'code=~"([^"]+)"', expression)
    assert set(codes.split("|")) == set(FAULTS)
    assert set(FAULTS) - {"other"} <= PROBLEMS.keys()
    for kind in ("certify", "tune", "other"):
        for code in FAULTS:
            labels = {"kind": kind, "outcome": "failed", "code": code}
            assert metrics.get_sample_value("certrad_jobs_total", labels) == 0, code  # increase() needs a first value


def test_every_alert_is_on_the_page_with_what_to_do() -> None:
    page = PAGE.read_text("utf-8")
    assert [rule["alert"] for rule in ALERTS] == re.findall(r"^\| `(Certrad\w+)` \|", page, re.MULTILINE)


def test_counters_of_the_installation_are_never_summed_over_processes() -> None:
    of_processes = re.compile(r"sum(?: by \([^)]*\))? ?\((?:rate|increase)\((certrad_[a-z_]+)")
    for name, expression in EXPRESSIONS.items():
        summed = set(of_processes.findall(expression))
        assert {metric for metric in summed if not metric.startswith("certrad_http_")} == set(), name


def test_panels_have_places_and_a_data_source_that_is_chosen() -> None:
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS}
    assert len(places) == len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}


@pytest.mark.system
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
        ["test", "rules", "alerts_drift_test.yml"],
    ],
    ids=["syntax", "behaviour", "drift"],
)
def test_prometheus_takes_the_alert_rules(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, "make debian installs promtool, with the package prometheus"
    done = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout + done.stderr


@pytest.mark.system
def test_prometheus_takes_every_expression_of_the_dashboard(tmp_path: Any) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None, "make debian installs promtool, with the package prometheus"
    rules = [
        {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for number, target in enumerate(target for panel in PANELS for target in panel["targets"])
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
