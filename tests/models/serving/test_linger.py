"""When a run of a dear model waits for more rows: by numbers alone."""

import pytest

from gomlx.models.serving.linger import Linger

SECONDS = 0.002


def learned(rows: int) -> Linger:
    linger = Linger(SECONDS)
    for _ in range(100):
        linger.add(rows)
    return linger


@pytest.mark.parametrize(
    ("rows", "more", "run", "row", "pays"),
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
def test_waiting_pays_when_more_rows_run_a_second(
    rows: int, more: int, run: float, row: float, pays: bool
) -> None:
    assert learned(more).pays(rows, 64, lambda n: run + row * n) is pays


def test_waiting_begins_and_ends_with_the_rows_that_come() -> None:
    linger = Linger(SECONDS)
    expected = [(0, False), (8, True), (0, False)]
    for rows, pays in expected:
        for _ in range(40):
            linger.add(rows)
        assert linger.pays(1, 64, lambda _: 0.005) is pays


def test_no_linger() -> None:
    linger = Linger(0.0)
    linger.add(64)
    assert not linger.pays(1, 64, lambda _: 1.0)
