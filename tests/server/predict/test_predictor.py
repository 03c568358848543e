"""The request path: hits at once, misses together, versions pinned."""

import asyncio
import gc
import json
from functools import partial
from time import perf_counter
from typing import Any

import pytest

from gomlx.errors import ModelNotFound, NotReady, TooLarge
from gomlx.models.serving.servable import Servable
from gomlx.server.body import LARGE_BYTES
from gomlx.server.parsing import GarbageCollector
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import CallbackRequester, ParsingRequest
from tests.server.conftest import Path_, predict, submit, until

pytestmark = pytest.mark.asyncio


def data(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    return json.loads(reply.body)["data"]


async def test_a_hit_is_answered_within_submit(path: Path_) -> None:
    await predict(path, b'{"x":1}')
    replies: list[Reply] = []
    path.predictor.submit("m", b'{"x":1}', replies.append)
    assert data(replies[0]) == {"y": 2.0}
    assert replies[0].cache_status == "gomlx; hit; detail=L1"


async def test_equal_requests_at_once_are_computed_once(path: Path_) -> None:
    replies = await asyncio.gather(*(predict(path, b'{"x":5}') for _ in range(20)))
    assert [data(reply) for reply in replies] == [{"y": 10.0}] * 20
    assert path.counts.histograms["gomlx_batch_rows",].sums.total == 1
    assert replies[0].cache_status == "gomlx; fwd=miss; stored"
    assert {r.cache_status for r in replies[1:]} == {"gomlx; fwd=miss; collapsed"}
    assert path.counts.counter("gomlx_flights_collapsed", "m").n == 19


async def test_different_requests_at_once_run_together(path: Path_) -> None:
    bodies = [b'{"x":%d}' % n for n in range(10)]
    replies = await asyncio.gather(*(predict(path, body) for body in bodies))
    assert [data(reply)["y"] for reply in replies] == [2.0 * n for n in range(10)]
    assert path.runs() == 1


async def test_requests_of_one_turn_have_their_own_replies(path: Path_) -> None:
    """Hits, misses, batches and errors."""
    await predict(path, b'{"x":1}')
    bodies: list[tuple[bytes | str, int, Any]] = [
        (b'{"x":1}', 200, {"y": 2.0}),
        (b"{", 400, None),
        (b'{"x":2}', 200, {"y": 4.0}),
        (b'{"x":"two"}', 400, None),
        (b'{"x":[1,3,3],"batch_size":3}', 200, [{"y": 2.0}, {"y": 6.0}, {"y": 6.0}]),
        ("x=4", 200, {"y": 8.0}),
        ("x=\ud800", 400, None),
        (b'{"x":2}', 200, {"y": 4.0}),
        (b'{"z":2}', 400, None),
        (b'{"x":1.0}', 200, {"y": 2.0}),
    ]
    replies: dict[int, Reply] = {}
    calls = [
        CallbackRequester(text, partial(replies.__setitem__, n), perf_counter(), 30.0)
        for n, (text, *_) in enumerate(bodies)
    ]
    path.predictor.predict("m", calls)
    assert {0, 1, 3, 6, 8, 9} == replies.keys()  # the others have to be computed
    await until(lambda: len(replies) == len(bodies))
    for n, (_, status, expected) in enumerate(bodies):
        assert replies[n].status == status, replies[n].body
        if status == 200:
            assert data(replies[n]) == expected
    rows = path.counts.histograms["gomlx_batch_rows",].sums.total
    assert rows == 1 + 3  # 1 before; 2, 3 and 4 now
    assert path.counts.counter("gomlx_requests", "m", "200").n == 1 + 6
    assert path.counts.counter("gomlx_requests", "m", "400").n == 4


async def test_a_batch_with_one_row_twice_computes_it_once(path: Path_) -> None:
    reply = await predict(path, b'{"x":[7,8,7,7],"batch_size":4}')
    assert [row["y"] for row in data(reply)] == [14.0, 16.0, 14.0, 14.0]
    assert path.counts.histograms["gomlx_batch_rows",].sums.total == 2


@pytest.mark.parametrize("cached", range(8))
async def test_every_mix_of_hits_and_misses(path: Path_, cached: int) -> None:
    for n in range(3):
        if cached >> n & 1:
            await predict(path, b'{"x":%d}' % n)
    reply = await predict(path, b'{"x":[0,1,2],"batch_size":3}')
    assert [row["y"] for row in data(reply)] == [0.0, 2.0, 4.0]
    assert f"hits={cached.bit_count()}" in reply.cache_status


async def test_a_request_is_answered_from_the_version_it_pinned(
    path: Path_, servables: dict[float, Servable]
) -> None:
    drained: list[object] = []
    before = asyncio.create_task(predict(path, b'{"x":1}'))
    await asyncio.sleep(0)
    path.current.swap({"m": path.live(servables[3.0])}, drained.append)
    after = await predict(path, b'{"x":1}')
    old = await before
    assert data(old) == {"y": 2.0}
    assert data(after) == {"y": 3.0}
    assert old.version != after.version
    assert drained


async def test_a_rollback_finds_its_cache_warm(
    path: Path_, servables: dict[float, Servable]
) -> None:
    for factor in (2.0, 3.0, 2.0):
        path.current.swap({"m": path.live(servables[factor])}, lambda _: None)
        reply = await predict(path, b'{"x":1}')
        assert data(reply) == {"y": factor}
    assert "hit" in reply.cache_status


async def test_more_rows_than_the_queue_takes_are_shed_at_once(path: Path_) -> None:
    waiting = [asyncio.create_task(predict(path, b'{"x":%d}' % n)) for n in range(100)]
    replies: list[Reply] = []
    await asyncio.sleep(0)  # all are queued, none has run
    path.predictor.submit("m", b'{"x":1000}', replies.append)
    done = await asyncio.gather(*waiting)
    assert {reply.status for reply in done} == {200}
    assert [reply.status for reply in replies] == [429]
    assert replies[0].retry_after
    assert data(await predict(path, b'{"x":1000}')) == {"y": 2000.0}


async def test_a_model_that_is_not_loaded_yet(path: Path_) -> None:
    reply = await predict(path, b'{"x":1}', "unloaded")
    assert reply.status == 503
    assert reply.retry_after


async def test_requests_are_counted_by_status(path: Path_) -> None:
    for body in (b'{"x":1}', b'{"x":1}', b"{", b'{"x":"a"}'):
        await predict(path, body)
    await predict(path, b"{}", "unknown-model")
    counts = path.counts.counts
    assert counts["gomlx_requests", "m", "200"].n == 2
    assert counts["gomlx_requests", "m", "400"].n == 2
    assert counts["gomlx_unrouted_requests", "404"].n == 1


async def test_every_pin_is_released(path: Path_) -> None:
    live = path.current.get("m")
    assert live
    bodies = [b'{"x":1}', b"{", b'{"x":[1,2],"batch_size":2}', b'{"z":1}']
    await asyncio.gather(*(predict(path, body) for body in bodies))
    assert live.pins == 0


async def test_an_unknown_model_is_refused_and_counted_apart(path: Path_) -> None:
    with pytest.raises(ModelNotFound):
        path.predictor.check("n")
    with pytest.raises(NotReady):
        path.predictor.check("unloaded")
    path.predictor.check("m")
    reply = path.predictor.refusal("n", TooLarge("too large"))
    assert reply.status == 413
    assert path.counts.counter("gomlx_unrouted_requests", "413").n == 1


async def test_there_is_room_until_the_queue_is_full(path: Path_) -> None:
    assert path.predictor.has_room("unloaded")
    assert path.predictor.has_room("m")
    rows = ",".join(map(str, range(100)))
    _, reply = submit(path, b'{"x":[%b],"batch_size":100}' % rows.encode())
    assert not path.predictor.has_room("m")
    assert (await reply).status == 200
    assert path.predictor.has_room("m")


async def test_a_request_is_abandoned_once(path: Path_) -> None:
    pending, reply = submit(path, b'{"x":1}')
    assert pending
    for _ in range(2):
        path.predictor.abandon(pending)
    assert not reply.done()
    other, answered = submit(path, b'{"x":2}')
    assert other
    await answered
    path.predictor.abandon(other)
    assert path.counts.counter("gomlx_requests", "m", "499").n == 1
    assert path.counts.counter("gomlx_requests_canceled", "m").n == 1
    path.predictor.count_abandoned("m", 0.5)
    path.predictor.count_canceled("m")
    assert path.counts.counter("gomlx_requests", "m", "499").n == 2
    assert path.counts.counter("gomlx_requests_canceled", "m").n == 3


def large(x: float) -> bytes:
    """A body that is parsed in a thread."""
    return b'{"x":%g%s}' % (x, b" " * LARGE_BYTES)


async def test_a_large_body_is_parsed_in_a_thread(path: Path_) -> None:
    await predict(path, b'{"x":1}')
    pending, reply = submit(path, large(1))
    assert isinstance(pending, ParsingRequest)
    replies: list[Reply] = []
    path.predictor.submit("m", b'{"x":1}', replies.append)  # the loop is free
    assert replies and not reply.done()
    assert data(await reply) == {"y": 2.0}
    assert reply.result().cache_status == "gomlx; hit; detail=L1"
    assert data(await predict(path, large(2))) == {"y": 4.0}
    wrong = [b"{" + b" " * LARGE_BYTES, large(1)[:-1] + b',"z":1}']
    assert [(await predict(path, body)).status for body in wrong] == [400, 400]
    assert (await predict(path, large(1), "unloaded")).status == 503
    assert (await predict(path, large(1), "none")).status == 404


async def test_large_bodies_are_answered_each_for_itself(path: Path_) -> None:
    replies = await asyncio.gather(*(predict(path, large(n % 5)) for n in range(20)))
    assert [data(reply)["y"] for reply in replies] == [2.0 * (n % 5) for n in range(20)]


async def test_a_version_that_went_while_a_body_was_parsed(
    path: Path_, servables: dict[float, Servable]
) -> None:
    _, reply = submit(path, large(7))
    path.current.swap({"m": path.live(servables[3.0])}, lambda _: None)
    assert data(await reply) == {"y": 21.0}


async def test_a_large_body_is_abandoned_while_it_is_parsed(path: Path_) -> None:
    pending, reply = submit(path, large(8))
    assert pending is not None
    for _ in range(2):
        path.predictor.abandon(pending)
    await predict(path, large(9))  # parsed after it
    assert not reply.done()
    assert path.runs() == 1


async def test_a_large_body_is_abandoned_while_it_is_computed(
    path: Path_, servables: dict[float, Servable]
) -> None:
    gate = path.gated(servables[3.0])
    pending, reply = submit(path, large(8))
    assert pending is not None
    await gate.wait()
    path.predictor.abandon(pending)
    gate.go.set()
    assert data(await predict(path, b'{"x":8}')) == {"y": 24.0}
    assert not reply.done()


async def test_a_large_body_is_not_parsed_past_its_deadline(path: Path_) -> None:
    assert (await predict(path, large(8), seconds=0.0)).status == 504
    assert path.runs() == 0


async def test_a_body_that_takes_long_is_parsed_in_a_thread(path: Path_) -> None:
    await predict(path, b'{"x":3}')
    body = b'{"x":["%b"],"batch_size":100}' % (b"[" * (LARGE_BYTES // 2))
    pending, refused = submit(path, body)
    assert isinstance(pending, ParsingRequest)
    replies: list[Reply] = []
    path.predictor.submit("m", b'{"x":3}', replies.append)  # the loop is free
    assert replies and not refused.done()
    assert (await refused).status == 400
    assert gc.isenabled()


async def test_the_collector_rests_until_the_last_large_body_is_parsed() -> None:
    collector = GarbageCollector()
    with collector.paused():
        with pytest.raises(OSError), collector.paused():
            raise OSError
        assert not gc.isenabled()
    assert gc.isenabled()
