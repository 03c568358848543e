"""Which answers are equal, close, different."""

from typing import Any

import pytest

from gomlx.cli.replay.compare import Difference, difference

EQUAL = Difference.equal
CLOSE = Difference.close
DIFFERENT = Difference.different


@pytest.mark.parametrize(
    ("logged", "answer", "expected"),
    [
        ({"y": 1.0}, {"y": 1.0}, EQUAL),
        ({"y": 1}, {"y": 1.0}, EQUAL),
        ({"y": 1.0}, {"y": 1.0000001}, CLOSE),
        ({"y": 1e9}, {"y": 1e9 + 1}, CLOSE),
        ({"y": 0.0}, {"y": 1e-7}, CLOSE),
        ({"y": 1.0}, {"y": 1.1}, DIFFERENT),
        ({"y": "a"}, {"y": "a"}, EQUAL),
        ({"y": "a"}, {"y": "b"}, DIFFERENT),
        ({"y": "NaN"}, {"y": "NaN"}, EQUAL),
        ({"y": "NaN"}, {"y": 1.0}, DIFFERENT),
        ({"y": True}, {"y": 1}, DIFFERENT),
        ({"y": None}, {"y": None}, EQUAL),
        ({"y": [1.0, 2.0]}, {"y": [1.0, 2.0000001]}, CLOSE),
        ({"y": [1.0, 2.0]}, {"y": [1.0]}, DIFFERENT),
        ({"y": 1.0, "z": 1}, {"y": 1.0}, DIFFERENT),
        ({"y": 1.0}, {"y": 1.0, "z": 1}, EQUAL),
        ({}, {"y": 1.0}, EQUAL),
        ([{"y": 1.0}, {"y": 2.0}], [{"y": 1.0}, {"y": 9.0}], DIFFERENT),
        ({"y": 1.0}, [1.0], DIFFERENT),
    ],
)
def test_difference(logged: Any, answer: Any, expected: Difference) -> None:
    assert difference(logged, answer, 1e-6) is expected
