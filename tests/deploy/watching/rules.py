"""The rules of deploy/prometheus, and the metrics that an expression asks for."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.docs.blocks import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
# What a service counts, not what rules record (job_model:gomlx_…), nor a function.
_METRIC = r"(?<![\w:])(?:gomlx_\w+|process_\w+|up)(?![\w:(])"
_SELECTOR = re.compile(_METRIC + r"(?:\{[^}]*\})?")


@dataclass(frozen=True)
class Rule:
    """A recording rule, or an alert."""

    name: str
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


def recorded() -> list[Rule]:
    """Return the recording rules."""
    return [*_rules(PROMETHEUS / "recording.yml", "record")]


def alerts() -> list[Rule]:
    """Return the alerts."""
    return [*_rules(PROMETHEUS / "alerts.yml", "alert")]


def _rules(path: Path, kind: str) -> Iterator[Rule]:
    for group in yaml.safe_load(path.read_text())["groups"]:
        for rule in group["rules"]:
            yield Rule(
                rule[kind],
                rule["expr"],
                rule.get("labels", {}),
                rule.get("annotations", {}),
            )


def metrics_of(expression: str) -> set[str]:
    """Return the names of the scraped metrics in an expression."""
    return {*re.findall(_METRIC, _without_labels(expression))}


def selectors_of(expression: str) -> list[str]:
    """Return the scraped metrics in an expression with their label matchers."""
    return _SELECTOR.findall(expression)


def _without_labels(expression: str) -> str:
    return re.sub(r"\{[^}]*\}", "", expression)
