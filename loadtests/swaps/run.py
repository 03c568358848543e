"""All cases, one after the other, and their page and plot."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from loadtests.bench.table import load_cores
from loadtests.swaps.case import measure
from loadtests.swaps.cases import cases, quick_cases
from loadtests.swaps.figures import Answers
from loadtests.swaps.page import page
from loadtests.swaps.plot import plot

_RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Found:
    """The page and the plot of a run."""

    page: str
    plot: str


def measured(quick: bool, demo_rate: float, large_rate: float) -> Found:
    """Measure all cases. quick: short ones, which show that the programs work."""
    results = []
    drawn = []
    for case in quick_cases() if quick else cases(demo_rate, large_rate):
        with tempfile.TemporaryDirectory(prefix="gomlx-swap-") as folder:
            found = measure(case, Path(folder), load_cores())
        answers = Answers(found)
        figures = answers.figures()
        results.append((found, figures))
        drawn.append((found, figures, answers.slots()))
    return Found(page(results), plot(drawn))


def save(found: Found) -> None:
    """Write the results."""
    (_RESULTS / "swap.md").write_text(found.page)
    (_RESULTS / "swap.svg").write_text(found.plot)
