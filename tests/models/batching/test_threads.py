"""How a batch is spread over threads, and how many there are."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomlx.models.batching.threads import (
    LONG_SECONDS,
    Threads,
    spare_cores,
    spread,
    threads_in_run,
)


def linear(rows: int) -> float:
    return 0.01 * rows


@given(st.integers(1, 70), st.integers(1, 20), st.floats(0, 1), st.floats(0, 1))
def test_the_parts_are_the_batch(
    rows: int, most: int, fixed: float, each: float
) -> None:
    batch = list(range(rows))
    parts = spread(batch, most, lambda n: fixed + each * n)
    assert [row for part in parts for row in part] == batch
    assert len(parts) <= most
    sizes = [len(part) for part in parts]
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= 1


def test_rows_that_cost_as_much_alone_are_spread_over_all_threads() -> None:
    assert [len(part) for part in spread(range(16), 4, linear)] == [4, 4, 4, 4]
    assert [len(part) for part in spread(range(3), 4, linear)] == [1, 1, 1]


def test_rows_that_cost_little_beside_others_stay_together() -> None:
    assert len(spread(range(16), 4, lambda rows: 0.1)) == 1


def test_a_batch_has_no_more_parts_than_are_worth_their_cpu() -> None:
    assert len(spread(range(16), 4, lambda rows: 0.02 + rows * 0.01)) == 2
    assert len(spread(range(16), 4, lambda rows: 0.16 + rows * 0.01)) == 1


def test_short_runs_have_one_thread() -> None:
    assert threads_in_run(LONG_SECONDS / 2, 8) == 1
    assert threads_in_run(LONG_SECONDS, 8) == 8
    assert threads_in_run(LONG_SECONDS, 1) == 1


@pytest.mark.parametrize(
    ("cores", "workers", "spare"), [(1, 1, 1), (2, 2, 1), (4, 1, 3), (16, 4, 3)]
)
def test_a_core_of_each_worker_stays_with_its_event_loop(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, spare: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert spare_cores(workers) == spare


def test_more_workers_than_cores_have_one_each() -> None:
    assert spare_cores(10_000) == 1


@pytest.mark.asyncio
async def test_a_thread_is_busy_until_it_is_released() -> None:
    threads = Threads("m", 2)
    runs = [threads.start(abs, -n) for n in (1, 2)]
    assert (threads.busy, threads.idle) == (2, 0)
    assert await asyncio.gather(*runs) == [1, 2]
    threads.release()
    assert (threads.busy, threads.idle) == (1, 1)
    threads.close()
