"""Cases until time is up; a finding ends them, and says how it is found again."""

import random

import pytest

from loadtests.fuzz.cases import Finding, Plan, cut


def odd(seed: int) -> str:
    if seed == 14:
        raise Finding("fourteen", "--only x")
    return "odd" if seed % 2 else "even"


def test_outcomes_are_counted() -> None:
    assert Plan("fuzz", 2, seconds=0, count=5).run(odd) == {"even": 3, "odd": 2}


def test_cases_end_when_time_is_up() -> None:
    assert not Plan("fuzz", 2, seconds=0).run(odd)


def test_a_finding_says_how_it_is_found_again() -> None:
    with pytest.raises(SystemExit) as raised:
        Plan("fuzz", 9, seconds=60).run(odd)
    text = str(raised.value)
    assert text.splitlines()[0] == "fourteen"
    assert text.endswith("again: fuzz --only x --seed 14 --cases 1")


def test_most_bytes_of_what_is_cut_stay() -> None:
    data = bytes(range(256)) * 64
    for seed in range(50):
        found = cut(data, random.Random(seed))
        assert found != data or found[:1] == b"\0"
        assert cut(data, random.Random(seed)) == found
