"""Results, and the pages that are written from them."""

from typing import Any

import pytest

from loadtests.bench import results
from loadtests.bench.measure import Cost, Run, Saturation
from loadtests.bench.overload import Answers, Overload, Percentiles
from loadtests.bench.swap import Latencies, Swap
from loadtests.load.wrk import Closed

COST = Cost(3.0, 0.5, 0.01, 100.0, {"hits": 1.0, "joined": None, "lag_ms": 5.0})
CLOSED = Closed(1000, 2.0, 0, 0.1, 0.2, 0.3, 0.4)
RUN = Run("gomlx", Saturation("gomlx S hit 16", 16, [0]), CLOSED, COST)
PERCENTILES = Percentiles(1.0, 2.0)
OVERLOAD = Overload(
    1000.0,
    Answers(900.0, 0, 0.6, 0),
    PERCENTILES,
    PERCENTILES,
    PERCENTILES,
    1.0,
    0.0,
    5.0,
    0.1,
)
SWAP = Swap(1000, 2, 0, 0, 0, 1.5, Latencies(1.0, 2.0, 3.0), 5.0, 0.1)


def test_the_pages_have_the_results() -> None:
    found = results.load()
    for path, lines in (
        (results.PAGE, results.page_section(found)),
        (results.README, results.readme(found)),
    ):
        assert "\n".join(lines) in path.read_text()
    for name, text in results.files(results.load()).items():
        assert (results.FOLDER / name).read_text() == text


def test_a_run_has_its_rate_and_its_cpu() -> None:
    assert RUN.rate == 500
    assert RUN.cpu_us == 500


@pytest.mark.parametrize(
    ("figures", "scenario"),
    [
        (OVERLOAD.as_dict(), results.load()["scenarios"]["overload"]["2 ms a row"]),
        (SWAP.as_dict(), results.load()["scenarios"]["swap"]),
        (RUN.as_dict(), results.load()["runs"][0]),
    ],
    ids=["overload", "swap", "run"],
)
def test_figures_keep_their_names(
    figures: dict[str, Any], scenario: dict[str, Any]
) -> None:
    """Results of different versions can be compared."""
    assert list(figures) == list(scenario)
