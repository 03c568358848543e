"""What deploy/ asks Prometheus for, asked of one that scrapes a service under load."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from gomlx.metrics.declarations import COUNTERS
from tests.deploy.tools import program
from tests.deploy.watching import dashboard, prometheus
from tests.deploy.watching.dashboard import QueryVariable
from tests.deploy.watching.prometheus import Prometheus
from tests.deploy.watching.rules import (
    Rule,
    alerts,
    metrics_of,
    recorded,
    selectors_of,
)
from tests.docs.blocks import ROOT
from tests.support import redis_servers, saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, wait_for
from tests.support.service import running as serving

SHOWN = dashboard.read()
ADAPTER = ROOT / "deploy" / "helm" / "prometheus-adapter.yaml"
(ADAPTED,) = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
# Series that begin with the first fault of their kind, which no load causes.
FAULTS = {"gomlx_isolated_restarts_total", "gomlx_model_runs_outlasted_total"}
SECONDS = 60


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus beside a service under load."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_servers.server(folder / "redis"))
        tls = Endpoint(folder / "tls")
        service = stack.enter_context(
            serving(folder, config(folder, redis.url, tls), trust=tls.trust(False))
        )
        scrape = {"tls_config": {"ca_file": str(tls.ca)}}
        configured = prometheus.config_for(service.url, scrape)
        own = tmp_path_factory.mktemp("prometheus")
        one = stack.enter_context(prometheus.running(own, configured))
        stack.enter_context(load(service))
        yield one


def config(folder: Path, redis: str, tls: Endpoint) -> dict[str, Any]:
    saved_models.scale(folder / "scale", 2.0)
    saved_models.pick(folder / "pick")
    saved_models.sleeper(folder / "slow", 600)
    models = [
        {"id": "scale", "url": "./scale", "datastore": "s"},
        {"id": "pick", "url": "./pick"},
        {
            "id": "slow",
            "url": "./slow",
            "batch": {"max_rows": 1, "max_queued_rows": 30},
        },
    ]
    return {
        "models": models,
        "datastores": [{"id": "s", "memory_mb": 16, "tiers": [{"connection": "near"}]}],
        "connections": [{"id": "near", "url": redis, "timeout_seconds": 30}],
        "endpoint": {"workers": 2, "tls": tls.config()},
    }


@contextmanager
def load(service: Service) -> Iterator[None]:
    """Send hits, misses, runs that fail, queues and what is for no model."""
    over = threading.Event()
    tasks = [
        partial(ask, service, over, "scale", [[0], [1], [2], None]),
        partial(ask, service, over, "pick", [[1], [99]]),
        partial(ask, service, over, "nobody", [[1]]),
        # Of three connections, one worker has two, whose rows do not all fit its queue.
        *[partial(ask, service, over, "slow", [None])] * 3,
    ]
    threads = [threading.Thread(target=task) for task in tasks]
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def ask(
    service: Service, over: threading.Event, model: str, kinds: list[list[int] | None]
) -> None:
    """Send rows in turn until it is over. None: twenty rows that nobody sent before."""
    with service.connect() as client:
        for n in count():
            if over.wait(0.02):
                return
            rows = kinds[n % len(kinds)] or [*range(20 * n + 100, 20 * n + 120)]
            body = {"x": rows, "batch_size": len(rows)}
            client.post(f"/v1/api/model/{model}/eval", json=body)


def filled(expression: str) -> str:
    """Return an expression with what Grafana puts in place of its variables."""
    every = {"$__rate_interval": "20s", "$job": "gomlx", "$model": ".+"}
    for name, value in every.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def asked_for() -> set[str]:
    """Return the metrics that rules, the dashboard and the adapter ask for."""
    rules = [rule.expression for rule in (*recorded(), *alerts())]
    panels = map(filled, SHOWN.expressions())
    expressions = [*rules, *panels, ADAPTED["seriesQuery"]]
    return set().union(*map(metrics_of, expressions))


def test_metrics_of_faults_are_declared() -> None:
    assert {name.removesuffix("_total") for name in FAULTS} <= COUNTERS.keys()


@pytest.mark.parametrize("metric", sorted(asked_for() - FAULTS))
def test_a_metric_is_scraped(watched: Prometheus, metric: str) -> None:
    wait_for(lambda: metric in watched.names(), SECONDS, metric)


def test_every_rule_is_evaluated(watched: Prometheus) -> None:
    groups = watched.ask("/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(recorded()) + len(alerts())
    wait_for(lambda: _healthy(watched), SECONDS, "all rules to be evaluated")


def _healthy(watched: Prometheus) -> bool:
    groups = watched.ask("/rules")["groups"]
    states = {rule["health"] for group in groups for rule in group["rules"]}
    assert "err" not in states
    return states == {"ok"}


@pytest.mark.parametrize("rule", recorded(), ids=lambda rule: rule.name)
def test_what_is_recorded(watched: Prometheus, rule: Rule) -> None:
    wait_for(lambda: watched.query(rule.name), SECONDS, rule.expression)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_what_an_alert_looks_at(watched: Prometheus, alert: Rule) -> None:
    for selector in selectors_of(alert.expression):
        if not metrics_of(selector) & FAULTS:
            wait_for(partial(watched.query, selector), SECONDS, selector)


def test_runs_that_fail_alert(watched: Prometheus) -> None:
    """Half of the requests of one model fail, and none of another."""

    def firing() -> set[str]:
        found = watched.query('ALERTS{alertname="GomlxErrors",alertstate="firing"}')
        return {series["metric"]["model"] for series in found}

    wait_for(lambda: "pick" in firing(), SECONDS, "the alert")
    assert "scale" not in firing()


@pytest.mark.parametrize("expression", SHOWN.expressions())
def test_a_panel_shows_something(watched: Prometheus, expression: str) -> None:
    wait_for(partial(watched.query, filled(expression)), SECONDS, expression)


@pytest.mark.parametrize("mark", SHOWN.annotations.every, ids=lambda mark: mark.name)
def test_a_mark_can_be_asked_for(watched: Prometheus, mark: Any) -> None:
    watched.query(filled(mark.expr))
    (metric,) = metrics_of(filled(mark.expr))
    wait_for(lambda: metric in watched.names(), SECONDS, metric)


def test_the_dashboards_variables(watched: Prometheus) -> None:
    wanted = {"job": {"gomlx"}, "model": {"scale", "pick", "slow"}}
    for variable in SHOWN.templating.every:
        if isinstance(variable, QueryVariable):
            question = filled(variable.query.query)
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", question)
            assert found, question
            names = values(watched, found[1], found[2])
            assert names == wanted[variable.name]


def values(watched: Prometheus, selector: str, label: str) -> set[str]:
    wait_for(lambda: watched.query(selector), SECONDS, selector)
    return {series["metric"][label] for series in watched.query(selector)}


def test_what_an_autoscaler_asks_for(watched: Prometheus) -> None:
    """prometheus-adapter finds the pod's series, and that rows wait."""
    series = ADAPTED["seriesQuery"]
    wait_for(lambda: watched.query(series), SECONDS, series)
    query = ADAPTED["metricsQuery"]
    fields = {
        "<<.Series>>": series.partition("{")[0],
        "<<.LabelMatchers>>": 'namespace="shop",pod=~"gomlx-0"',
        "<<.GroupBy>>": "pod",
    }
    for name, value in fields.items():
        query = query.replace(name, value)

    def queued() -> list[dict[str, Any]]:
        return [one for one in watched.query(query) if float(one["value"][1]) > 0]

    (found,) = wait_for(queued, SECONDS, query)
    assert found["metric"] == {"pod": "gomlx-0"}
