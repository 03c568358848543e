"""The verdict on a phase with a fault of Redis."""

import pytest

from loadtests import redis_faults


@pytest.mark.parametrize(
    ("p99", "wrong", "expected"),
    [(0.0099, 0, "met"), (0.0101, 0, "missed"), (0.001, 1, "missed")],
)
def test_a_fault_of_redis_is_judged(p99: float, wrong: int, expected: str) -> None:
    """The slowest hundredth is ignored. Quiet 2 ms, deadline 5 ms, margin 3 ms."""
    seconds = [*[0.001] * 985, *[p99] * 10, *[9.0] * 5]
    assert (
        redis_faults.verdict(seconds, wrong, 0.002) == f"goal p99 ≤ 10.00: {expected}"
    )
