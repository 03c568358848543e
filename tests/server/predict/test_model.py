"""The path of one model's requests, with everything around it in memory."""

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from gomlx.models.serving.current import Current, LiveVersion
from gomlx.server.parsing import RestingThread
from gomlx.server.predict.counts import ModelCounts
from gomlx.server.predict.misses import Misses
from gomlx.server.predict.model import ModelPredictor
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.reply import Reply
from tests.server.conftest import Counts
from tests.server.predict.fakes import (
    ANSWER,
    FakeBatcher,
    FakeCache,
    FakeRequester,
    live_version,
    parsed_of,
)

pytestmark = pytest.mark.asyncio
ONE = b'{"city":"rome","x":1}'
TWO = b'{"city":"rome","x":2}'


class Model:
    """One model, and what is around it."""

    def __init__(self) -> None:
        self.batcher = FakeBatcher()
        self.cache = FakeCache()
        self.counts = Counts()
        self.current = Current(["m"])
        cache: Any = self.cache
        self.predictor = ModelPredictor(
            "m",
            CachePolicy(cache),
            100,
            self.current.slot("m"),
            Misses({"m": 100}),
            ModelCounts(self.counts, "m"),
        )
        self.swap(live_version(self.batcher))

    def swap(self, live: LiveVersion) -> None:
        self.current.swap({"m": live}, lambda _: None)

    def predict(self, *texts: bytes | str) -> list[FakeRequester]:
        requesters = [FakeRequester(text) for text in texts]
        self.predictor.predict(requesters)
        return requesters

    def store(self, x: float) -> None:
        self.cache.answers |= dict.fromkeys(parsed_of(x).keys, ANSWER)


def statuses(requesters: list[FakeRequester]) -> list[list[int]]:
    return [[reply.status for reply in requester.replies] for requester in requesters]


async def test_hits_are_answered_at_once_and_misses_later() -> None:
    model = Model()
    model.store(1)
    hit, miss, wrong = requesters = model.predict(ONE, TWO, b"{")
    assert statuses(requesters) == [[200], [], [400]]
    assert hit.pending is wrong.pending is None
    assert miss.pending
    model.batcher.complete()
    assert statuses(requesters) == [[200], [200], [400]]
    assert miss.replies[0].cache_status == "gomlx; fwd=miss; stored"
    assert model.counts.counter("gomlx_requests", "m", "200").n == 2
    assert model.counts.counter("gomlx_requests", "m", "400").n == 1


async def test_the_texts_of_hits_are_recognized_while_their_version_is_live() -> None:
    model = Model()
    assert not model.predictor.recognizes(ONE)
    model.store(1)
    for text in (ONE, TWO):
        model.predict(text)
    assert model.predictor.recognizes(ONE)
    assert not model.predictor.recognizes(TWO)
    assert not model.predictor.recognizes(ONE.ljust(2000))
    model.predictor.decide_again()
    assert not model.predictor.recognizes(ONE)


async def test_a_version_is_pinned_while_requests_wait() -> None:
    model = Model()
    live = model.current.require("m")
    model.store(1)
    model.predict(ONE)
    assert live.pins == 0
    model.predict(TWO, TWO)
    assert live.pins == 2
    model.batcher.complete()
    assert live.pins == 0


async def test_requests_beyond_the_queue_are_shed_and_not_pinned() -> None:
    model = Model()
    model.batcher.room = 1
    first, second = model.predict(ONE, TWO)
    assert statuses([first, second]) == [[], [429]]
    assert second.pending is None
    assert model.current.require("m").pins == 1


async def test_a_drained_version_is_freed_while_no_request_comes() -> None:
    model = Model()
    model.predict(ONE)
    model.batcher.complete()
    old = weakref.ref(model.current.require("m").servable)
    batcher = FakeBatcher()
    model.swap(live_version(batcher, "e" * 32))
    gc.collect()
    assert old() is None
    model.predict(TWO)
    assert len(batcher.jobs) == 1


async def test_an_unsteady_version_bypasses_the_cache() -> None:
    model = Model()
    model.store(1)
    model.predict(ONE)
    model.swap(live_version(model.batcher, "e" * 32, ["RandomUniform"]))
    (requester,) = model.predict(ONE)
    model.batcher.complete()
    (reply,) = requester.replies
    assert reply.cache_status == "gomlx; fwd=bypass; detail=unsteady-model"


async def test_an_error_of_the_cache_is_an_answer_to_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeCache):
        def get_many(self, keys: object) -> dict[bytes, bytes]:
            raise ZeroDivisionError

    model = Model()
    model.cache.__class__ = Broken
    assert statuses(model.predict(ONE, TWO)) == [[500], [500]]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_a_requester_that_fails_hurts_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeRequester):
        def reply(self, reply: Reply) -> None:
            raise ZeroDivisionError

    model = Model()
    model.store(1)
    requesters = [
        Broken(ONE, request_id="r-1"),
        Broken(b"{"),
        FakeRequester(ONE),
    ]
    model.predictor.predict(requesters)
    assert statuses(requesters) == [[], [], [200]]
    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["model m, request r-1: a bug", "model m: a bug"]


async def test_nothing_is_live() -> None:
    model = Model()
    model.current = Current(["m"])
    model.predictor = ModelPredictor(
        "m",
        CachePolicy(None),
        100,
        model.current.slot("m"),
        Misses({"m": 100}),
        ModelCounts(model.counts, "m"),
    )
    assert statuses(model.predict(ONE, TWO)) == [[503], [503]]


async def test_the_thread_that_parses_rests_as_long_as_it_has_worked() -> None:
    """Or the event loop would wait for the interpreter after each of its calls."""
    now = 100.0
    rests: list[float] = []

    def work(seconds: float) -> float:
        nonlocal now
        now += seconds
        return seconds

    def rest(seconds: float) -> None:
        rests.append(seconds)
        work(seconds)

    thread = RestingThread("m", lambda: now, rest)
    answers = [thread.start(work, seconds) for seconds in (2.0, 0.5, 4.0)]
    assert await asyncio.gather(*answers) == [2.0, 0.5, 4.0]
    assert rests == [2.0, 0.5]
    now += 3.0
    await thread.start(work, 1.0)
    assert rests == [2.0, 0.5, 1.0]  # three of four had passed
    now += 10.0
    await thread.start(work, 1.0)
    assert len(rests) == 3
