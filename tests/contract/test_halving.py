"""Halves hold all rows, in their order."""

import pytest

from gomlx.contract.halving import halves


@pytest.mark.parametrize("size", [2, 3, 64, 65])
def test_halves_are_all_rows_in_their_order(size: int) -> None:
    rows = list(range(size))
    first, second = halves(rows)
    assert first + second == rows
    assert len(second) - len(first) == size % 2
