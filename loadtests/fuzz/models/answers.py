"""Answers of a model as JSON, or why there is none; whether two agree."""

import math
from typing import Any

FAILED = "failed: "  # before why there is no answer


def is_failed(answer: Any) -> bool:
    """Whether there is a reason in place of an answer."""
    return isinstance(answer, str) and answer.startswith(FAILED)


def agree(found: Any, expected: Any) -> bool:
    """Tell whether answers are equal, but for the last bits and dimensions of one."""
    if is_failed(found) or is_failed(expected):
        return is_failed(found) and is_failed(expected)
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            agree(found[name], value) for name, value in expected.items()
        )
    pairs = [_flat(found), _flat(expected)]
    return len(pairs[0]) == len(pairs[1]) and all(map(_is_close, *pairs))


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for one in value for leaf in _flat(one)]
    return [value]


def _is_close(found: Any, expected: Any) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6)
    return bool(found == expected)
