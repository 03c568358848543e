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
    Respond,
    always,
    answered,
    connected,
    doubled,
    hosts,
    http,
    works,
)
from tests.support.redis_servers import free_port

pytestmark = pytest.mark.asyncio


async def hangs_up(_: bytes, __: asyncio.StreamWriter) -> None:
    return None


async def never_responds(_: bytes, __: asyncio.StreamWriter) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


async def dies_half_way(body: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(answered(doubled(body))[:-5])
    await writer.drain()


def error(status: str, text: str, **headers: str) -> bytes:
    document = {"status": "error", "error": text}
    return http(orjson.dumps(document), status, **headers)


def shortened(body: bytes, cut: int) -> bytes:
    """A complete HTTP response whose JSON is cut short."""
    whole = orjson.dumps({"status": "ok", "data": doubled(body)})
    return http(whole[:-cut], gomlx_version=VERSION)


def version_less(body: bytes) -> bytes:
    return http(orjson.dumps({"status": "ok", "data": doubled(body)}))


WRONG: dict[str, tuple[Respond, type[Exception]]] = {
    "hangs up": (hangs_up, ConnectionFailed),
    "dies half-way": (dies_half_way, BadResponse),
    "garbage": (always(b"\x16\x03\x01 nonsense\r\n\r\n"), BadResponse),
    "a page": (always(http(b"<html>hello</html>")), BadResponse),
    "truncated JSON": (always(shortened(b'{"x":1}', 4)), BadResponse),
    "no version": (always(version_less(b'{"x":1}')), BadResponse),
    "a list": (always(answered([{"y": 1.0}])), BadResponse),
    "another output": (always(answered({"z": 1.0})), BadResponse),
    "another type": (always(answered({"y": "1"})), BadResponse),
    "null": (always(answered(None)), BadResponse),
    "502": (always(http(b"bad gateway", "502 Bad Gateway")), BadResponse),
    "redirect": (always(http(b"", "302 Found", Location="/elsewhere")), BadResponse),
    "429": (always(error("429 Too Many", "queue", Retry_After="9")), Overloaded),
    "503": (always(error("503 Unavailable", "loading", Retry_After="9")), NotReady),
    "504": (always(error("504 Timeout", "late")), DeadlineExceeded),
    "unresponsive": (never_responds, DeadlineExceeded),
}


@pytest.mark.parametrize("fault", WRONG)
async def test_another_host_answers(stack: AsyncExitStack, fault: str) -> None:
    respond, _ = WRONG[fault]
    pair = await hosts(stack, always(b""), works)
    pair[0].respond = respond
    # A host that does not respond has half of the time.
    calls, seconds = (2, 6.0) if fault == "unresponsive" else (30, 30.0)
    client = await connected(stack, pair, timeout_seconds=seconds)
    for n in range(calls):
        assert await client.predict(x=n + 0.5) == {"y": 2 * n + 1}


@pytest.mark.parametrize("fault", WRONG)
async def test_a_single_host_gives_the_documented_error(
    stack: AsyncExitStack, fault: str
) -> None:
    respond, expected = WRONG[fault]
    client = await connected(stack, await hosts(stack, respond), timeout_seconds=0.3)
    with pytest.raises((expected, NoHost, DeadlineExceeded)) as caught:
        await client.predict(x=1)
    text = str(caught.value)
    unanswered = any(words in text for words in ("no answer", "no host", "no time"))
    assert unanswered or caught.type is expected, text
    assert client.metrics()["entries"] == 0  # nothing was kept


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
    pair = await hosts(stack, *[always(error(status, "because"))] * 2)
    client = await connected(stack, pair)
    with pytest.raises(expected, match="because"):
        await client.predict(x=1)
    assert sum(len(host.bodies) for host in pair) == 1


async def test_the_wrong_number_of_rows_is_no_answer(stack: AsyncExitStack) -> None:
    async def too_few(body: bytes, _: asyncio.StreamWriter) -> bytes:
        return answered(doubled(body)[:-1])

    async def too_many(body: bytes, _: asyncio.StreamWriter) -> bytes:
        return answered([*doubled(body), {"y": 1.0}])

    three = await hosts(stack, too_few, too_many, works)
    client = await connected(stack, three)
    for start in range(0, 40, 4):
        xs = list(range(start, start + 4))
        answers = await client.predict_batch({"x": xs})
        assert [a["y"] for a in answers] == [2 * x for x in xs]


async def test_retry_after_is_respected_within_the_deadline(
    stack: AsyncExitStack,
) -> None:
    """429 with Retry-After, from the only host there is."""
    (host,) = await hosts(stack, works)
    refusals = [error("429 Too Many", "queue", Retry_After="1")]

    async def busy_first(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        return refusals.pop() if refusals else await works(body, writer)

    host.respond = busy_first
    client = await connected(stack, [host])
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert await client.predict(x=2) == {"y": 4}
    assert loop.time() - started >= 1
    refusals.append(error("429 Too Many", "queue", Retry_After="60"))
    with pytest.raises(Overloaded, match="queue") as caught:
        await client.predict(x=3, timeout_seconds=30)
    assert caught.value.retry_after == 60


async def test_waiting_as_requested_costs_no_retry(stack: AsyncExitStack) -> None:
    """There are more calls than retries; the only host sheds each call once."""
    (host,) = await hosts(stack, works)
    shed = set[bytes]()

    async def sheds_first(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if body not in shed:
            shed.add(body)
            return error("429 Too Many", "queue", Retry_After="1")
        return await works(body, writer)

    host.respond = sheds_first
    client = await connected(stack, [host], timeout_seconds=30.0)
    answers = await asyncio.gather(*(client.predict(x=n) for n in range(40)))
    assert [a["y"] for a in answers] == [2 * n for n in range(40)]


async def test_a_request_that_is_too_large_is_halved(stack: AsyncExitStack) -> None:
    """The limit of the service may have become lower than in its contract."""

    async def small(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if len(orjson.loads(body).get("x", [])) > 3 if b"batch" in body else False:
            return error("413 Too Large", "at most 3")
        return await works(body, writer)

    client = await connected(stack, await hosts(stack, small))
    answers = await client.predict_batch({"x": list(range(10))})
    assert [a["y"] for a in answers] == [2 * x for x in range(10)]


async def test_the_deadline_is_sent_and_respected(stack: AsyncExitStack) -> None:
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host], timeout_seconds=600)
    await client.predict(x=1, timeout_seconds=60)
    (line,) = (
        line for line in host.heads[-1].splitlines() if line.startswith("Request-Time")
    )
    assert 30_000 < int(line.split()[-1]) <= 60_000
    host.respond = never_responds
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineExceeded):
            await client.predict(x=2, timeout_seconds=0.1)


async def test_hedging_sends_slow_requests_to_a_second_host(
    stack: AsyncExitStack,
) -> None:
    slow = asyncio.Event()

    async def sometimes(body: bytes, writer: asyncio.StreamWriter) -> bytes:
        if slow.is_set():
            await asyncio.sleep(30)
        return await works(body, writer)

    pair = await hosts(stack, sometimes, works)
    client = await connected(stack, pair, hedge=True, timeout_seconds=20.0)
    for n in range(60):
        await client.predict(x=n)
    slow.set()
    answers = await asyncio.gather(*(client.predict(x=n) for n in range(100, 110)))
    assert [a["y"] for a in answers] == [2 * n for n in range(100, 110)]
    assert client.metrics()["requests"]["hedged"] > 0


async def test_retries_have_a_budget(stack: AsyncExitStack) -> None:
    five = await hosts(stack, *[always(error("503 Unavailable", "no"))] * 5)
    client = await connected(stack, five)
    for n in range(40):
        with pytest.raises((NotReady, NoHost, DeadlineExceeded)):
            await client.predict(x=n, timeout_seconds=0.5)
    requests = sum(len(host.bodies) for host in five)
    assert requests <= 40 + 10 + 40 * 0.2 + 1


async def test_an_invalid_contract_is_a_bad_response(stack: AsyncExitStack) -> None:
    (host,) = await hosts(stack, works)
    host.contract_body = b'{"format":9}'
    with pytest.raises(BadResponse, match="not a contract"):
        await connected(stack, [host], contract=None)


async def test_less_busy_hosts_are_picked_and_broken_ones_skipped() -> None:
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
    assert known.seconds_to_wait() == 2
    now += 10
    assert known.pick([a, c]) is b  # half-open: one try
    assert known.pick([a, c]) in (a, c)
    b.abandoned()  # the request of that try was cancelled
    assert known.pick([a, c]) in (a, c)


async def test_a_budget_fills_with_calls() -> None:
    budget = RetryBudget()
    assert [budget.try_withdraw() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(5):
        budget.deposit()
    assert [budget.try_withdraw() for _ in range(2)] == [True, False]


async def test_a_host_that_comes_and_goes_fails_no_call(stack: AsyncExitStack) -> None:
    stable = Host(works)
    other = Host(works)
    await stack.enter_async_context(stable.running())
    port = free_port()
    other.url = f"http://127.0.0.1:{port}"
    client = await connected(stack, [stable, other])
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
        assert await client.predict(x=n) == {"y": 2 * n}
    await coming
    assert len(other.bodies) >= 8
