"""What nobody waits for any more does not run: deadlines, clients that have gone."""

import asyncio
import json
from pathlib import Path

import pytest

from gomlx.cache.coalesce import Coalescer, HostLeases
from gomlx.errors import InvalidInput
from gomlx.models.serving.servable import Servable
from gomlx.server.predict.deadlines import timeout_seconds
from gomlx.server.predict.policy import CachePolicy
from tests.cache.test_coalesce import holder
from tests.server.conftest import Gate, Path_, ask, asked, until

pytestmark = pytest.mark.asyncio

Servables = dict[float, Servable]
SHORT = 0.03  # seconds


async def running(
    path: Path_, servables: Servables
) -> tuple[Gate, asyncio.Task[bytes]]:
    """A model that runs the row 0 until it is let go on, so that others queue."""

    async def first() -> bytes:
        return (await asked(path, b'{"x":0}')).body

    gate = path.gated(servables[2.0])
    task = asyncio.create_task(first())
    await gate.wait()
    return gate, task


async def late(path: Path_, gate: Gate, body: bytes) -> None:
    """Ask, and have the time be up once the run has begun."""
    left, reply = ask(path, body, seconds=3600)
    assert left
    await gate.wait()
    left.deadline = 1e-9
    assert (await reply).status == 504


async def test_a_row_whose_time_is_up_in_the_queue_never_runs(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    reply = await asked(path, b'{"x":1}', seconds=SHORT)
    assert reply.status == 504
    assert "Request-Timeout-Ms" in json.loads(reply.body)["error"]
    gate.go.set()
    await first
    assert (await asked(path, b'{"x":2}')).status == 200
    assert gate.rows == [0.0, 2.0]
    assert path.counts.counter("gomlx_requests", "m", "504").n == 1


async def test_a_row_that_is_late_when_it_is_taken_is_not_run(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    _, reply = ask(path, b'{"x":1}', seconds=1e-9)  # before any sweep
    gate.go.set()
    assert (await reply).status == 504
    await first
    assert gate.rows == [0.0]


async def test_the_late_answer_of_a_run_is_cached(
    path: Path_, servables: Servables
) -> None:
    gate = path.gated(servables[2.0])
    await late(path, gate, b'{"x":1}')
    assert gate.rows == [1.0]
    gate.go.set()
    await until(lambda: no_pins(path))
    reply = await asked(path, b'{"x":1}', seconds=SHORT)
    assert reply.cache_status == "gomlx; hit; detail=L1"
    assert gate.rows == [1.0]


def no_pins(path: Path_) -> bool:
    live = path.current.get("m")
    return live is not None and live.pins == 0


async def test_a_shared_flight_runs_for_the_last_who_wants_it(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    _, patient = ask(path, b'{"x":1}')
    _, joined = ask(path, b'{"x":1}', seconds=SHORT)
    assert (await joined).status == 504
    gate.go.set()
    assert json.loads((await patient).body)["data"] == {"y": 2.0}
    await first


async def test_one_who_joins_late_keeps_a_flight_alive(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    assert (await asked(path, b'{"x":1}', seconds=SHORT)).status == 504
    _, joined = ask(path, b'{"x":1}')
    gate.go.set()
    assert (await joined).status == 200
    await first


async def test_a_version_is_held_until_its_late_run_has_ended(
    path: Path_, servables: Servables
) -> None:
    gate, drained = path.gated(servables[2.0]), list[object]()
    await late(path, gate, b'{"x":1}')
    path.current.swap("m", path.live(servables[3.0]), drained.append)
    assert not drained
    gate.go.set()
    await until(lambda: drained)


async def test_the_rows_of_a_failed_request_do_not_run(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    rows = ",".join(map(str, [13, *range(100, 180)]))
    _, failing = ask(path, b'{"x":[%b],"batch_size":81}' % rows.encode())
    gate.go.set()
    reply = await failing
    assert reply.status == 500
    assert "thirteen" in json.loads(reply.body)["error"]
    await first
    await until(lambda: no_pins(path))
    # A run takes 64; the 17 others were still in the queue when the first one failed.
    assert not {*map(float, range(163, 180))} & {*gate.rows}


@pytest.mark.parametrize("is_cached", [True, False])
async def test_what_a_client_that_left_asked_for_does_not_run(
    path: Path_, servables: Servables, is_cached: bool
) -> None:
    if not is_cached:
        path.predictor = path.reconfigure(CachePolicy(None))
    gate, first = await running(path, servables)
    leaving, reply = ask(path, b'{"x":[1,2,3],"batch_size":3}')
    _, staying = ask(path, b'{"x":2}')
    assert leaving
    path.predictor.abandon(leaving)
    path.predictor.abandon(leaving)
    gate.go.set()
    assert (await staying).status == 200
    await first
    await until(lambda: no_pins(path))
    assert gate.rows == [0.0, 2.0]
    assert not reply.done()
    assert path.counts.counter("gomlx_requests_canceled", "m").n == 1


async def test_rows_of_those_who_left_keep_nobody_out(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    rows = ",".join(map(str, range(1, 101)))
    leaving, _ = ask(path, b'{"x":[%b],"batch_size":100}' % rows.encode())
    assert leaving
    assert (await asked(path, b'{"x":1000}')).status == 429
    path.predictor.abandon(leaving)
    _, other = ask(path, b'{"x":1000}')
    gate.go.set()
    assert (await other).status == 200
    await first
    assert gate.rows == [0.0, 1000.0]


async def test_waiting_for_another_process_ends_with_the_deadline(
    path: Path_, shared_folder: Path
) -> None:
    local = path.cache._local
    assert local
    leases = HostLeases(shared_folder / "leases", local)
    coalescer = Coalescer(leases, 1000, path.cache.peek_local)
    path.predictor = path.reconfigure(CachePolicy(path.cache, coalescer))
    live = path.current.get("m")
    assert live
    question = live.signature.check({"x": 1}, 1)
    (key,) = live.dictionary.keys(live.dictionary.canonical(question.rows))
    with holder(shared_folder, key):
        assert (await asked(path, b'{"x":1}', seconds=SHORT)).status == 504
        await until(lambda: no_pins(path))  # nor does anybody wait on its behalf
        assert path.runs() == 0
        _, patient = ask(path, b'{"x":1}')
    assert (await patient).status == 200


async def test_rows_looked_for_elsewhere_do_not_keep_each_other_out(
    path: Path_, servables: Servables, shared_folder: Path
) -> None:
    """They are more than a run takes, and a run takes longer than may be queued."""
    gate = Gate(servables[2.0])
    gate.go.set()
    live = path.live(servables[2.0], gate, 0.01)
    path.current.swap("m", live, lambda _: None)
    assert path.cache._local
    leases = HostLeases(shared_folder / "leases", path.cache._local)
    coalescer = Coalescer(leases, 30, path.cache.peek_local)
    path.predictor = path.reconfigure(CachePolicy(path.cache, coalescer))
    rows = ",".join(map(str, range(101, 201)))
    reply = await asked(path, b'{"x":[%b],"batch_size":100}' % rows.encode())
    assert reply.status == 200, reply.body


async def test_a_row_that_could_not_run_in_time_is_shed_at_once(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    rows = ",".join(map(str, range(101, 165)))
    _, batch = ask(path, b'{"x":[%b],"batch_size":64}' % rows.encode())
    left, refused = ask(path, b'{"x":1000}', seconds=0.5)  # a run takes a second
    assert left is None
    assert refused.result().status == 429
    _, joined = ask(
        path, b'{"x":101}', seconds=0.5
    )  # may be answered, and takes no room
    assert not joined.done()
    _, patient = ask(path, b'{"x":2000}', seconds=30)
    gate.go.set()
    assert (await patient).status == (await batch).status == 200
    await first
    await until(lambda: no_pins(path))
    assert 1000.0 not in gate.rows


async def test_hits_are_served_while_misses_are_shed(
    path: Path_, servables: Servables
) -> None:
    await asked(path, b'{"x":500}')
    gate, first = await running(path, servables)
    rows = ",".join(map(str, range(101, 201)))
    _, batch = ask(path, b'{"x":[%b],"batch_size":100}' % rows.encode())
    for body in (b'{"x":1000}', b'{"x":[500,1000],"batch_size":2}'):
        left, refused = ask(path, body)
        assert left is None
        reply = refused.result()  # at once
        assert reply.status == 429
        assert reply.retry_after
    assert ask(path, b'{"x":500}')[1].result().cache_status == "gomlx; hit; detail=L1"
    # What is computed anyway takes no room.
    _, joined = ask(path, b'{"x":[500,101,102],"batch_size":3}')
    gate.go.set()
    assert (await joined).status == (await batch).status == 200
    await first
    assert 1000.0 not in gate.rows
    assert (await asked(path, b'{"x":1000}')).status == 200


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 30.0), ("1", 0.001), ("007", 0.007), ("30000", 30.0), ("9" * 12, 30.0)],
)
async def test_the_header_asks_for_less_than_the_config_allows(
    header: str | None, seconds: float
) -> None:
    assert timeout_seconds(header, 30.0) == seconds


@pytest.mark.parametrize(
    "header", ["", "0", "00", "-1", "+1", "1.5", "1e3", " 5", "5, 5", "٣", "9" * 99]
)
async def test_a_header_that_is_no_time(header: str) -> None:
    with pytest.raises(InvalidInput, match="header Request-Timeout-Ms: expected"):
        timeout_seconds(header, 30.0)
