"""The models that are swapped: the demo's, and one of 400 MB."""

from functools import partial
from pathlib import Path

from loadtests.load.traffic import Rows, flights
from loadtests.swaps.case import Case
from tests.support import saved_models

_EMBEDDED = Rows(templates=(b'{"x":%d}',))


def cases(demo_rate: float, large_rate: float) -> list[Case]:
    """Return the cases, at these requests a second."""
    return [
        Case("demo", _demo, flights(), demo_rate, 10, 30.0, 20.0),
        Case("400 MB", partial(_large, 400), _EMBEDDED, large_rate, 5, 60.0, 20.0),
    ]


def quick_cases() -> list[Case]:
    """Return short ones at low rates, which show that the programs work."""
    return [
        Case("demo", _demo, flights(), 300.0, 2, 45.0, 5.0),
        Case("16 MB", partial(_large, 16), _EMBEDDED, 300.0, 1, 45.0, 5.0),
    ]


def _demo(path: Path, number: int) -> None:
    from loadtests.load import ranking

    ranking.flights(path, seed=number)


def _large(megabytes: int, path: Path, number: int) -> None:
    saved_models.embedding(path, megabytes, seed=number)
