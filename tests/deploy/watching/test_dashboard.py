"""deploy/grafana/gomlx.json: a dashboard that Grafana shows as it is meant."""

import re
from collections import Counter
from itertools import combinations

import msgspec
import pytest

from tests.deploy.watching import dashboard
from tests.deploy.watching.dashboard import DASHBOARD, Dashboard, QueryVariable, Row

SHOWN = dashboard.read()
# Series of a model, by what they are of.
_OF_A_MODEL = re.compile(r"gomlx_(requests|request_seconds|model_|queue_|batch_rows)")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('"refId"', '"refid"'),
        ('"unit": "reqps"', '"unit": "rps"'),
        ('"w": 8', '"w": 25'),
        ('"uid": "${datasource}"', '"uid": "prometheus"'),
        ('"type": "timeseries"', '"type": "graph"'),
    ],
)
def test_a_mistake_is_found(right: str, wrong: str) -> None:
    text = DASHBOARD.read_text()
    assert right in text
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text.replace(right, wrong, 1), type=Dashboard)


def test_panels_have_ids_of_their_own() -> None:
    ids = Counter(panel.id for panel in SHOWN.panels)
    assert ids.most_common(1)[0][1] == 1


def test_panels_have_places_of_their_own() -> None:
    for one, other in combinations(SHOWN.panels, 2):
        assert not one.grid_pos.overlaps(other.grid_pos), (one.title, other.title)
    for panel in SHOWN.panels:
        assert panel.grid_pos.x + panel.grid_pos.w <= 24, panel.title


def test_panels_are_listed_from_top_to_bottom() -> None:
    """A row has the panels that are listed after it."""
    places = [(panel.grid_pos.y, panel.grid_pos.x) for panel in SHOWN.panels]
    assert places == sorted(places)
    assert isinstance(SHOWN.panels[0], Row)


def test_titles_and_queries_have_names_of_their_own() -> None:
    titles = Counter(panel.title for panel in SHOWN.panels)
    assert titles.most_common(1)[0][1] == 1
    for panel in SHOWN.shown():
        references = [target.ref_id for target in panel.targets]
        assert len({*references}) == len(references), panel.title


def test_the_variables() -> None:
    names = [variable.name for variable in SHOWN.templating.every]
    assert names == ["datasource", "job", "model"]
    for variable in SHOWN.templating.every:
        if isinstance(variable, QueryVariable):
            assert variable.definition == variable.query.query


@pytest.mark.parametrize("expression", SHOWN.expressions())
def test_an_expression_follows_the_variables(expression: str) -> None:
    """Only recorded budgets, which are the same for all, have no labels."""
    for name, labels in re.findall(
        r"\b(\w*:?gomlx_\w+(?::\w+)?)\{([^}]*)\}", expression
    ):
        assert 'job=~"$job"' in labels, name
        if _OF_A_MODEL.search(name):
            assert 'model=~"$model"' in labels, name
    without = re.findall(r"(?<![\w:])gomlx[\w:]+(?![\w:{])", expression)
    assert {*without} <= {"gomlx:errors:budget", "gomlx:slow:budget"}


@pytest.mark.parametrize("expression", SHOWN.expressions())
def test_rates_follow_the_shown_time(expression: str) -> None:
    """But for what happens rarely, which is counted by the hour."""
    for function, window in re.findall(r"(\w+)\([^()]*\[([^\]]+)\]", expression):
        wanted = {"rate": "$__rate_interval", "increase": "1h"}
        assert window == wanted[function], expression
