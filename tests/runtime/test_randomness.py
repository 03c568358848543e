"""Processes that must not draw the same numbers."""

import os
import random

import pytest

from gomlx.runtime.randomness import RANDOM


def test_an_application_that_seeds_its_own_does_not_seed_ours() -> None:
    draws = set[float]()
    for _ in range(2):
        random.seed(1)
        draws.add(RANDOM.random())
    assert len(draws) == 2


# Other tests of this process may have imported JAX, which warns of every fork.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_child_of_a_fork_draws_other_numbers() -> None:
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, repr(RANDOM.random()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert float(os.read(reading, 100)) != RANDOM.random()
    os.close(reading)
    os.close(writing)
