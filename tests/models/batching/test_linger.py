"""When a run of an expensive model lingers: by numbers alone."""

import pytest

from gomlx.models.batching.linger import Linger

SECONDS = 0.002


def learned(rows: int) -> Linger:
    linger = Linger(SECONDS)
    for _ in range(100):
        linger.observe(rows)
    return linger


@pytest.mark.parametrize(
    ("rows", "arrivals", "run", "row", "is_worth_it"),
    [
        (8, 8, 0.005, 0.0, True),  # sixteen callers in two halves
        (8, 8, 0.005, 0.0001, True),
        (8, 8, 0.005, 0.005, False),  # a run of twice the rows takes twice as long
        (8, 8, 0.001, 0.0, False),  # the run itself is no longer than the wait
        (5, 2, 0.005, 0.0, False),  # a row a millisecond, evenly: as many a second
        (1, 0, 0.005, 0.0, False),  # one caller
        (64, 8, 0.005, 0.0, False),  # full
    ],
)
def test_a_run_lingers_if_more_rows_then_run_a_second(
    rows: int, arrivals: int, run: float, row: float, is_worth_it: bool
) -> None:
    linger = learned(arrivals)
    found = linger.raises_throughput(rows, 64, lambda n: run + row * n)
    assert found is is_worth_it


def test_lingering_starts_and_ends_with_the_rows_that_arrive() -> None:
    linger = Linger(SECONDS)
    expected = [(0, False), (8, True), (0, False)]
    for rows, is_worth_it in expected:
        for _ in range(40):
            linger.observe(rows)
        assert linger.raises_throughput(1, 64, lambda _: 0.005) is is_worth_it


def test_no_linger() -> None:
    linger = Linger(0.0)
    linger.observe(64)
    assert not linger.raises_throughput(1, 64, lambda _: 1.0)
