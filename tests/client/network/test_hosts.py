"""Several hosts and their faults: an answer, a retry or the documented error."""

import asyncio
from contextlib import AsyncExitStack

import orjson
import pytest

from gomlx.client.network.hosts import Hosts, RetryBudget
from gomlx.errors import (
    BadResponse,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    NoHost,
    NotReady,
    Overloaded,
    RunFailed,
)
from tests.client.fake import (
    VERSION,
    Host,
    Say,
    answered,
    client,
    doubled,
    hosts,
    http,
    says,
    works,
)
from tests.support.redis_servers import free_port

pytestmark = pytest.mark.asyncio


async def hangs_up(_: bytes, __: asyncio.StreamWriter) -> None:
    return None


async def is_silent(_: bytes, __: asyncio.StreamWriter) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


async def dies_half_way(body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(answered(doubled(body))[:-5])
    await writer.drain()


def error(status: str, text: str, **headers: str) -> bytes:
    document = {"status": "error", "error": text}
    return http(orjson.dumps(document), status, **headers)


def shortened(body: bytes, cut: int) -> bytes:
    """A whole response of HTTP whose JSON is not."""
    whole = orjson.dumps({"status": "ok", "data": doubled(body)})
    return http(whole[:-cut], gomlx_version=VERSION)


def version_less(body: bytes) -> bytes:
    return http(orjson.dumps({"status": "ok", "data": doubled(body)}))


WRONG: dict[str, tuple[Say, type[Exception]]] = {
    "hangs up": (hangs_up, ConnectionFailed),
    "dies half-way": (dies_half_way, BadResponse),
    "garbage": (says(b"\x16\x03\x01 nonsense\r\n\r\n"), BadResponse),
    "a page": (says(http(b"<html>hello</html>")), BadResponse),
    "truncated JSON": (says(shortened(b'{"x":1}', 4)), BadResponse),
    "no version": (says(version_less(b'{"x":1}')), BadResponse),
    "a list": (says(answered([{"y": 1.0}])), BadResponse),
    "another output": (says(answered({"z": 1.0})), BadResponse),
    "another type": (says(answered({"y": "1"})), BadResponse),
    "null": (says(answered(None)), BadResponse),
    "502": (says(http(b"bad gateway", "502 Bad Gateway")), BadResponse),
    "redirect": (says(http(b"", "302 Found", Location="/elsewhere")), BadResponse),
    "429": (says(error("429 Too Many", "queue", Retry_After="9")), Overloaded),
    "503": (says(error("503 Unavailable", "loading", Retry_After="9")), NotReady),
    "504": (says(error("504 Timeout", "late")), DeadlineExceeded),
    "silent": (is_silent, DeadlineExceeded),
}


@pytest.mark.parametrize("fault", WRONG)
async def test_another_host_answers(stack: AsyncExitStack, fault: str) -> None:
    say, _ = WRONG[fault]
    pair = await hosts(stack, says(b""), works)
    pair[0].say = say
    # One who is silent is waited for, half of the time.
    calls, seconds = (2, 6.0) if fault == "silent" else (30, 30.0)
    asking = await client(stack, pair, timeout_seconds=seconds)
    for n in range(calls):
        assert await asking.predict(x=n + 0.5) == {"y": 2 * n + 1}


@pytest.mark.parametrize("fault", WRONG)
async def test_alone_it_is_the_documented_error(
    stack: AsyncExitStack, fault: str
) -> None:
    say, expected = WRONG[fault]
    asking = await client(stack, await hosts(stack, say), timeout_seconds=0.3)
    with pytest.raises((expected, NoHost, DeadlineExceeded)) as caught:
        await asking.predict(x=1)
    told = str(caught.value)
    unanswered = any(words in told for words in ("no answer", "no host", "no time"))
    assert unanswered or caught.type is expected, told
    assert asking.metrics()["entries"] == 0  # nothing of it was kept


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("400 Bad Request", InvalidInput),
        ("404 Not Found", ModelNotFound),
        ("500 Internal Server Error", RunFailed),
    ],
)
async def test_a_refusal_is_final(
    stack: AsyncExitStack, status: str, expected: type[Exception]
) -> None:
    pair = await hosts(stack, *[says(error(status, "because"))] * 2)
    asking = await client(stack, pair)
    with pytest.raises(expected, match="because"):
        await asking.predict(x=1)
    assert sum(len(host.bodies) for host in pair) == 1


async def test_the_wrong_number_of_rows_is_no_answer(stack: AsyncExitStack) -> None:
    async def too_few(body: bytes, _: asyncio.StreamWriter) -> bytes:
        return answered(doubled(body)[:-1])

    async def too_many(body: bytes, _: asyncio.StreamWriter) -> bytes:
        return answered([*doubled(body), {"y": 1.0}])

    three = await hosts(stack, too_few, too_many, works)
    asking = await client(stack, three)
    for start in range(0, 40, 4):
        xs = list(range(start, start + 4))
        answers = await asking.predict_batch({"x": xs})
        assert [a["y"] for a in answers] == [2 * x for x in xs]


async def test_patience_is_kept_when_it_is_short(stack: AsyncExitStack) -> None:
    """429 with Retry-After, from the only host there is."""
    (host,) = await hosts(stack, works)
    busy, patience = True, "1"

    async def busy_first(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        nonlocal busy
        was, busy = busy, False
        if was:
            return error("429 Too Many", "queue", Retry_After=patience)
        return await works(body, writer)

    host.say = busy_first
    asking = await client(stack, [host])
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await asking.predict(x=2) == {"y": 4}
    assert loop.time() - started >= 1
    busy, patience = True, "60"
    with pytest.raises(Overloaded, match="queue") as caught:
        await asking.predict(x=3, timeout_seconds=30)
    assert caught.value.retry_after == 60


async def test_patience_costs_no_retry(stack: AsyncExitStack) -> None:
    """More calls than there are retries, each shed once by the only host."""
    (host,) = await hosts(stack, works)
    shed = set[bytes]()

    async def sheds_first(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if body not in shed:
            shed.add(body)
            return error("429 Too Many", "queue", Retry_After="1")
        return await works(body, writer)

    host.say = sheds_first
    asking = await client(stack, [host], timeout_seconds=30.0)
    answers = await asyncio.gather(*(asking.predict(x=n) for n in range(40)))
    assert [a["y"] for a in answers] == [2 * n for n in range(40)]


async def test_too_large_goes_in_halves(stack: AsyncExitStack) -> None:
    """The service's limit may be lower than what its contract said."""

    async def small(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if len(orjson.loads(body).get("x", [])) > 3 if b"batch" in body else False:
            return error("413 Too Large", "at most 3")
        return await works(body, writer)

    asking = await client(stack, await hosts(stack, small))
    answers = await asking.predict_batch({"x": list(range(10))})
    assert [a["y"] for a in answers] == [2 * x for x in range(10)]


async def test_the_deadline_is_told_and_kept(stack: AsyncExitStack) -> None:
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host], timeout_seconds=600)
    await asking.predict(x=1, timeout_seconds=60)
    (line,) = (
        line for line in host.heads[-1].splitlines() if line.startswith("Request-Time")
    )
    assert 30_000 < int(line.split()[-1]) <= 60_000
    host.say = is_silent
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineExceeded):
            await asking.predict(x=2, timeout_seconds=0.1)


async def test_a_slow_host_is_helped_by_another_when_hedging(
    stack: AsyncExitStack,
) -> None:
    slow = asyncio.Event()

    async def sometimes(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if slow.is_set():
            await asyncio.sleep(30)
        return await works(body, writer)

    pair = await hosts(stack, sometimes, works)
    asking = await client(stack, pair, hedge=True, timeout_seconds=20.0)
    for n in range(60):
        await asking.predict(x=n)
    slow.set()
    answers = await asyncio.gather(*(asking.predict(x=n) for n in range(100, 110)))
    assert [a["y"] for a in answers] == [2 * n for n in range(100, 110)]
    assert asking.metrics()["requests"]["hedged"] > 0


async def test_retries_have_a_budget(stack: AsyncExitStack) -> None:
    five = await hosts(stack, *[says(error("503 Unavailable", "no"))] * 5)
    asking = await client(stack, five)
    for n in range(40):
        with pytest.raises((NotReady, NoHost, DeadlineExceeded)):
            await asking.predict(x=n, timeout_seconds=0.5)
    asked = sum(len(host.bodies) for host in five)
    assert asked <= 40 + 10 + 40 * 0.2 + 1


async def test_a_contract_that_is_none_is_not_believed(stack: AsyncExitStack) -> None:
    (host,) = await hosts(stack, works)
    host.raw_contract = b'{"format":9}'
    with pytest.raises(BadResponse, match="not a contract"):
        await client(stack, [host], contract=None)


async def test_less_busy_hosts_are_chosen_and_broken_ones_left_alone() -> None:
    now = 100.0
    known = Hosts(["a", "http://b/", "c", "a"], clock=lambda: now)
    a, b, c = known.all
    assert [h.url for h in known.all] == ["http://a", "http://b", "http://c"]
    a.outstanding = c.outstanding = 5
    assert [known.pick([a]) for _ in range(20)] == [b] * 20
    for _ in range(5):
        b.failed("it broke")
    assert {known.pick() for _ in range(50)} == {a, c}
    a.rests_until = now + 3
    assert {known.pick() for _ in range(20)} == {c}
    c.rests_until = now + 2
    assert known.pick() is None
    assert known.rest() == 2
    now += 10
    assert known.pick([a, c]) is b  # one try
    assert known.pick([a, c]) in (a, c)
    b.left()  # nobody waited for it
    assert known.pick([a, c]) in (a, c)


async def test_a_budget_fills_with_calls() -> None:
    budget = RetryBudget()
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(5):
        budget.call()
    assert [budget.take() for _ in range(2)] == [True, False]


async def test_a_host_that_comes_and_goes_fails_no_call(stack: AsyncExitStack) -> None:
    steady, other = Host(works), Host(works)
    await stack.enter_async_context(steady.running())
    port = free_port()
    other.url = f"http://127.0.0.1:{port}"
    asking = await client(stack, [steady, other])
    stop = asyncio.Event()

    n = 0

    async def come_and_go() -> None:
        for _ in range(8):
            seen = len(other.bodies)
            async with other.running(port=port):
                while len(other.bodies) == seen:
                    await asyncio.sleep(0.1)
            calls = n
            while n < calls + 20:
                await asyncio.sleep(0.1)
        stop.set()

    coming = asyncio.create_task(come_and_go())
    while not stop.is_set():
        n += 1
        assert await asking.predict(x=n) == {"y": 2 * n}
    await coming
    assert len(other.bodies) >= 8
