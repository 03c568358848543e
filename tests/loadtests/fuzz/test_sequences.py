"""Changed sequences of frames, sent to a real service."""

import random
from collections.abc import Iterator

import pytest

from loadtests.fuzz import frames
from loadtests.fuzz.cases import Case, Plan
from loadtests.fuzz.requests import any_request
from loadtests.fuzz.sequences import changed, opened, split


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with opened(tmp_path_factory.mktemp("frames"), "") as found:
        yield found


def test_frames_are_split_where_they_end() -> None:
    rng = random.Random(1)
    data = frames.requests([any_request(rng) for _ in range(5)], rng)
    found = split(data)
    assert b"".join(found) == data
    assert {one[3] for one in found} <= {0, 1, 4, 6, 8, 9, 0x55}
    assert split(data[:-1])[-1] == found[-1][:-1]


def test_sequences_are_changed() -> None:
    rng = random.Random(1)
    sequence = split(frames.requests([any_request(rng) for _ in range(5)], rng))
    different = [changed(sequence, rng) != sequence for _ in range(100)]
    assert sum(different) > 90


def test_errors_have_a_code_and_others_are_answered(case: Case) -> None:
    outcomes = Plan("", 0, seconds=60, count=300).run(case)
    assert outcomes["GOAWAY, PROTOCOL_ERROR"] > 30
    assert outcomes["goes on"] > 10
