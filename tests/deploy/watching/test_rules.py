"""deploy/prometheus: rules that promtool accepts, that fire, and that stay quiet."""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from tests.deploy.tools import program
from tests.deploy.watching.rules import (
    PROMETHEUS,
    Rule,
    alerts,
    metrics_of,
    recorded,
    selectors_of,
)
from tests.docs.blocks import ROOT
from tests.docs.test_links import anchors

OPERATIONS = ROOT / "docs" / "operations.md"
UNITS = sorted((Path(__file__).parent / "units").glob("*.yml"))


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_prometheus_accepts_the_config_and_its_rules() -> None:
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stderr
    rules = len(recorded()) + len(alerts())
    counts = map(int, re.findall(r"SUCCESS: (\d+) rules found", checked.stdout))
    assert sum(counts) == rules


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_rules_over_time(unit: Path) -> None:
    tested = promtool("test", "rules", unit)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_wrong_expectation_is_found(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "units" / "models.yml").read_text()
    text = text.replace("../../../..", str(ROOT)).replace("files of m are", "m is")
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(text)
    tested = promtool("test", "rules", wrong)
    assert tested.returncode == 1
    assert "GomlxModelStale" in tested.stdout + tested.stderr


def test_each_alert_is_tested_to_fire_and_to_stay_quiet() -> None:
    """An alert with several windows: for each of them."""
    fired: dict[str, set[str]] = defaultdict(set)
    quiet = set()
    for unit in UNITS:
        for case in yaml.safe_load(unit.read_text())["tests"]:
            for test in case["alert_rule_test"]:
                expected = test["exp_alerts"]
                windows = {one["exp_labels"].get("window", "") for one in expected}
                fired[test["alertname"]] |= windows
                if not expected:
                    quiet.add(test["alertname"])
    wanted = {rule.name for rule in alerts()}
    assert quiet == wanted
    assert {name for name, windows in fired.items() if windows} == wanted
    assert fired["GomlxErrors"] == {"1h", "6h", "1d", "3d"}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_says_what_to_do(alert: Rule) -> None:
    assert alert.labels["severity"] in ("page", "ticket")
    assert alert.annotations["summary"]
    page, _, section = alert.annotations["runbook_url"].partition("#")
    assert page == "https://gomlx.example/docs/operations.md"  # one address to replace
    assert section == alert.name.lower()
    assert section in anchors(OPERATIONS)


def test_errors_and_slow_answers_have_four_windows() -> None:
    speeds = [
        (rule.name, rule.labels["window"])
        for rule in alerts()
        if rule.labels.get("window")
    ]
    windows = ("1h", "6h", "1d", "3d")
    names = ("GomlxErrors", "GomlxSlowAnswers")
    assert speeds == [(name, window) for name in names for window in windows]


def test_which_metrics_an_expression_asks_for() -> None:
    text = 'sum by (up_to) (rate(gomlx_a_total{code="gomlx_b"}[5m])) / up - a:gomlx_c:d'
    assert metrics_of(text) == {"gomlx_a_total", "up"}
    assert selectors_of(text) == ['gomlx_a_total{code="gomlx_b"}', "up"]
