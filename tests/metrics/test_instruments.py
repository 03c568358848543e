"""Counters and histograms between two flushes."""

import pytest

from gomlx.metrics.instruments import Histogram
from gomlx.metrics.tally import Sums


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.5, 0), (1.0, 0), (1.5, 1), (2.0, 1), (2.5, 2), (9.0, 2)]
)
def test_a_value_counts_in_the_first_bucket_that_holds_it(
    value: float, bucket: int
) -> None:
    histogram = Histogram([1.0, 2.0])
    histogram.add(value)
    assert histogram.counts == [int(i == bucket) for i in range(3)]
    assert histogram.sums.total == value


def test_values_add_up_over_several_folds() -> None:
    histogram = Histogram([1.0, 2.0])
    for value in (1.5, 0.5, 3.0, 0.25):
        histogram.add(value)
        histogram.fold()
        histogram.fold()
    assert histogram.counts == [2, 1, 1]
    assert histogram.sums == Sums(4, 5.25, 0.25, 3.0)


def test_a_drained_histogram_starts_again_from_zero() -> None:
    histogram = Histogram([1.0])
    add = histogram.add  # callers keep it
    add(0.5)
    add(4.0)
    drained = histogram.drain()
    assert drained.counts == [1, 1]
    assert drained.sums == Sums(2, 4.5, 0.5, 4.0)
    assert histogram.counts == [0, 0]
    assert histogram.sums == Sums()
    add(2.0)
    assert histogram.drain().counts == [0, 1]
    assert drained.counts == [1, 1]
