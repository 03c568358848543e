"""Abandoned work is dropped: after deadlines, and when clients disconnect."""

import asyncio
import json
from math import inf
from pathlib import Path

import pytest

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.leases import HostLeases
from gomlx.errors import DeadlineExceeded, InvalidInput
from gomlx.models.serving.servable import Servable
from gomlx.server.predict.deadlines import Deadlines, timeout_seconds
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.request import PendingRequest
from tests.cache.test_coalesce import holder
from tests.server.conftest import Gate, Path_, predict, submit, until
from tests.server.predict.fakes import (
    ANSWER,
    FakeBatcher,
    FakeOwner,
    live_version,
    parsed_of,
    pending_of,
)

pytestmark = pytest.mark.asyncio

Servables = dict[float, Servable]
SHORT = 0.03  # seconds


async def running(
    path: Path_, servables: Servables
) -> tuple[Gate, asyncio.Task[bytes]]:
    """A model that runs the row 0 until the gate opens, so that other rows queue."""

    async def first() -> bytes:
        return (await predict(path, b'{"x":0}')).body

    gate = path.gated(servables[2.0])
    task = asyncio.create_task(first())
    await gate.wait()
    return gate, task


async def late(path: Path_, gate: Gate, body: bytes) -> None:
    """Have a request's deadline pass once its run has begun."""
    pending, reply = submit(path, body)
    assert isinstance(pending, PendingRequest)
    await gate.wait()
    pending.end(DeadlineExceeded.of("m"))
    assert (await reply).status == 504


async def test_a_row_whose_deadline_passes_in_the_queue_never_runs(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    reply = await predict(path, b'{"x":1}', seconds=SHORT)
    assert reply.status == 504
    assert "Request-Timeout-Ms" in json.loads(reply.body)["error"]
    gate.go.set()
    await first
    assert (await predict(path, b'{"x":2}')).status == 200
    assert gate.rows == [0.0, 2.0]
    assert path.counts.counter("gomlx_requests", "m", "504").n == 1


async def test_a_row_that_is_late_when_its_run_begins_is_dropped(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    _, reply = submit(path, b'{"x":1}', seconds=1e-9)  # before any sweep
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
    reply = await predict(path, b'{"x":1}', seconds=SHORT)
    assert reply.cache_status == "gomlx; hit; detail=L1"
    assert gate.rows == [1.0]


def no_pins(path: Path_) -> bool:
    live = path.current.get("m")
    return live is not None and live.pins == 0


async def test_a_flight_runs_while_one_request_waits_for_it(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    _, patient = submit(path, b'{"x":1}')
    _, joined = submit(path, b'{"x":1}', seconds=SHORT)
    assert (await joined).status == 504
    gate.go.set()
    assert json.loads((await patient).body)["data"] == {"y": 2.0}
    await first


async def test_a_request_that_joins_late_keeps_a_flight_alive(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    assert (await predict(path, b'{"x":1}', seconds=SHORT)).status == 504
    _, joined = submit(path, b'{"x":1}')
    gate.go.set()
    assert (await joined).status == 200
    await first


async def test_a_version_is_held_until_its_late_run_has_ended(
    path: Path_, servables: Servables
) -> None:
    gate = path.gated(servables[2.0])
    drained = list[object]()
    await late(path, gate, b'{"x":1}')
    path.current.swap({"m": path.live(servables[3.0])}, drained.append)
    assert not drained
    gate.go.set()
    await until(lambda: drained)


async def test_the_rows_of_a_failed_request_do_not_run(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    rows = ",".join(map(str, [13, *range(100, 180)]))
    _, failing = submit(path, b'{"x":[%b],"batch_size":81}' % rows.encode())
    gate.go.set()
    reply = await failing
    assert reply.status == 500
    assert "thirteen" in json.loads(reply.body)["error"]
    await first
    await until(lambda: no_pins(path))
    # A run takes 64; the 17 others were still in the queue when the first one failed.
    assert not {*map(float, range(163, 180))} & {*gate.rows}


@pytest.mark.parametrize("is_cached", [True, False])
async def test_the_rows_of_a_client_that_disconnected_do_not_run(
    path: Path_, servables: Servables, is_cached: bool
) -> None:
    if not is_cached:
        path.predictor = path.reconfigure(CachePolicy(None))
    gate, first = await running(path, servables)
    abandoned, reply = submit(path, b'{"x":[1,2,3],"batch_size":3}')
    _, staying = submit(path, b'{"x":2}')
    assert abandoned
    path.predictor.abandon(abandoned)
    path.predictor.abandon(abandoned)
    gate.go.set()
    assert (await staying).status == 200
    await first
    await until(lambda: no_pins(path))
    assert gate.rows == [0.0, 2.0]
    assert not reply.done()
    assert path.counts.counter("gomlx_requests_canceled", "m").n == 1


async def test_abandoned_rows_take_no_room(path: Path_, servables: Servables) -> None:
    gate, first = await running(path, servables)
    rows = ",".join(map(str, range(1, 101)))
    abandoned, _ = submit(path, b'{"x":[%b],"batch_size":100}' % rows.encode())
    assert abandoned
    assert (await predict(path, b'{"x":1000}')).status == 429
    path.predictor.abandon(abandoned)
    _, other = submit(path, b'{"x":1000}')
    gate.go.set()
    assert (await other).status == 200
    await first
    assert gate.rows == [0.0, 1000.0]


async def test_waiting_for_another_process_ends_with_the_deadline(
    path: Path_, shared_folder: Path
) -> None:
    leases = HostLeases(shared_folder / "leases", path.local)
    coalescer = Coalescer(leases, 1000, path.cache.poll_local)
    path.predictor = path.reconfigure(CachePolicy(path.cache, coalescer))
    live = path.current.get("m")
    assert live
    checked = live.signature.check({"x": 1}, 1)
    (key,) = live.dictionary.keys(live.dictionary.canonical(checked.rows))
    with holder(shared_folder, key):
        assert (await predict(path, b'{"x":1}', seconds=SHORT)).status == 504
        await until(lambda: no_pins(path))  # and nothing waits on its behalf
        assert path.runs() == 0
        _, patient = submit(path, b'{"x":1}')
    assert (await patient).status == 200


async def test_fetched_rows_do_not_keep_each_other_out(
    path: Path_, servables: Servables, shared_folder: Path
) -> None:
    """They need more than one run, and a run is longer than rows may be queued."""
    gate = Gate(servables[2.0])
    gate.go.set()
    live = path.live(servables[2.0], gate, 0.01)
    path.current.swap({"m": live}, lambda _: None)
    leases = HostLeases(shared_folder / "leases", path.local)
    coalescer = Coalescer(leases, 30, path.cache.poll_local)
    path.predictor = path.reconfigure(CachePolicy(path.cache, coalescer))
    rows = ",".join(map(str, range(101, 201)))
    reply = await predict(path, b'{"x":[%b],"batch_size":100}' % rows.encode())
    assert reply.status == 200, reply.body


async def test_a_row_that_could_not_run_in_time_is_shed_at_once(
    path: Path_, servables: Servables
) -> None:
    gate, first = await running(path, servables)
    rows = ",".join(map(str, range(101, 165)))
    _, batch = submit(path, b'{"x":[%b],"batch_size":64}' % rows.encode())
    pending, refused = submit(path, b'{"x":1000}', seconds=0.5)  # a run takes a second
    assert pending is None
    assert refused.result().status == 429
    # It joins a flight that may end in time, and takes no room.
    _, joined = submit(path, b'{"x":101}', seconds=0.5)
    assert not joined.done()
    _, patient = submit(path, b'{"x":2000}', seconds=30)
    gate.go.set()
    assert (await patient).status == (await batch).status == 200
    await first
    await until(lambda: no_pins(path))
    assert 1000.0 not in gate.rows


async def test_hits_are_served_while_misses_are_shed(
    path: Path_, servables: Servables
) -> None:
    await predict(path, b'{"x":500}')
    gate, first = await running(path, servables)
    rows = ",".join(map(str, range(101, 201)))
    _, batch = submit(path, b'{"x":[%b],"batch_size":100}' % rows.encode())
    for body in (b'{"x":1000}', b'{"x":[500,1000],"batch_size":2}'):
        pending, refused = submit(path, body)
        assert pending is None
        reply = refused.result()  # at once
        assert reply.status == 429
        assert reply.retry_after
    assert (
        submit(path, b'{"x":500}')[1].result().cache_status == "gomlx; hit; detail=L1"
    )
    # Rows that are computed already take no room.
    _, joined = submit(path, b'{"x":[500,101,102],"batch_size":3}')
    gate.go.set()
    assert (await joined).status == (await batch).status == 200
    await first
    assert 1000.0 not in gate.rows
    assert (await predict(path, b'{"x":1000}')).status == 200


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 30.0), ("1", 0.001), ("007", 0.007), ("30000", 30.0), ("9" * 12, 30.0)],
)
async def test_the_header_shortens_what_the_config_allows(
    header: str | None, seconds: float
) -> None:
    assert timeout_seconds(header, 30.0) == seconds


@pytest.mark.parametrize(
    "header", ["", "0", "00", "-1", "+1", "1.5", "1e3", " 5", "5, 5", "٣", "9" * 99]
)
async def test_a_header_that_is_no_time(header: str) -> None:
    with pytest.raises(InvalidInput, match="header Request-Timeout-Ms: expected"):
        timeout_seconds(header, 30.0)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def swept() -> None:
    """Wait for several sweeps of a timer without a period."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_end_once_their_deadline_has_passed() -> None:
    clock = Clock()
    owner = FakeOwner()
    deadlines = Deadlines(0, clock)
    live = live_version(FakeBatcher())
    soon, later, answered = (
        pending_of(live, parsed_of(1), owner=owner, timeout_seconds=seconds)
        for seconds in (10, 20, 10)
    )
    for pending in (soon, later, answered):
        deadlines.add(pending)
    answered.complete(0, ANSWER)
    deadlines.discard(answered)
    deadlines.discard(answered)
    clock.now = soon.deadline - 1
    await swept()
    assert owner.endings == [None]
    clock.now = soon.deadline
    await swept()
    assert [type(error) for error in owner.endings] == [type(None), DeadlineExceeded]
    clock.now = later.deadline
    await swept()
    assert len(owner.endings) == 3


async def test_the_timer_starts_again_with_the_next_request() -> None:
    clock = Clock()
    owner = FakeOwner()
    deadlines = Deadlines(0, clock)
    live = live_version(FakeBatcher())
    clock.now = inf
    for n in (1, 2):
        deadlines.add(pending_of(live, parsed_of(1), owner=owner))
        await swept()
        assert len(owner.endings) == n


async def test_a_bug_in_one_reply_stops_no_other_deadline() -> None:
    class Broken(FakeOwner):
        def ended(self, *_: object) -> None:
            raise ZeroDivisionError

    bugs: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: bugs.append(context))
    clock = Clock()
    owner = FakeOwner()
    deadlines = Deadlines(0, clock)
    live = live_version(FakeBatcher())
    clock.now = inf
    deadlines.add(pending_of(live, parsed_of(1), owner=Broken()))
    for _ in range(3):
        deadlines.add(pending_of(live, parsed_of(1), owner=owner))
    await swept()
    assert len(bugs) == 1
    assert len(owner.endings) == 3
