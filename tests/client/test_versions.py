"""Hosts whose model changes: no answer of an old version passes for a new one."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson
import pytest

from gomlx.errors import InvalidInput
from tests.client.fake import (
    VERSION,
    always,
    answered,
    connected,
    contract,
    hosts,
    works,
)

pytestmark = pytest.mark.asyncio
NEW = "b" * 32


async def trebles(body: bytes, _: asyncio.StreamWriter) -> bytes:
    """Respond as a host of the new version, whose model is y = 3 x."""
    request = orjson.loads(body)
    if "batch_size" not in request:
        return answered({"y": request["x"] * 3.0}, NEW)
    return answered([{"y": x * 3.0} for x in request["x"]], NEW)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_responses_of_a_new_version_start_one_check(
    stack: AsyncExitStack,
) -> None:
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host])
    assert await client.predict(x=1) == {"y": 2}
    host.respond = trebles
    host.contract = contract(NEW)
    answers = await asyncio.gather(*(client.predict(x=n) for n in range(2, 30)))
    assert [(a["y"], a.version) for a in answers] == [
        (3 * n, NEW) for n in range(2, 30)
    ]
    await until(lambda: client.version == NEW)
    assert sum(head.startswith("GET") for head in host.heads) == 1
    again = await client.predict(x=1)
    assert (again, again.tier, again.version) == ({"y": 3}, "model", NEW)


async def test_a_batch_is_of_one_version(stack: AsyncExitStack) -> None:
    """Rows kept locally are of the old version, those requested of the new one."""
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host])
    await client.predict_batch({"x": [1, 2, 3]})
    host.respond = trebles
    host.contract = contract(NEW)
    answers = await client.predict_batch({"x": [1, 2, 3, 4]})
    assert [a["y"] for a in answers] == [3, 6, 9, 12]
    assert {a.version for a in answers} == {NEW}


async def test_hits_alone_do_not_hide_a_new_version(stack: AsyncExitStack) -> None:
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host], refresh_seconds=0.05)
    await client.predict(x=1)
    host.respond = trebles
    host.contract = contract(NEW)
    await until(lambda: client.version == NEW)
    assert await client.predict(x=1) == {"y": 3}
    host.respond = works  # a rollback finds the kept answers
    host.contract = contract()
    await until(lambda: client.version == VERSION)
    back = await client.predict(x=1)
    assert (back, back.tier) == ({"y": 2}, "local")


@pytest.mark.parametrize("changed", [0.0, 5.0, 600.0])
async def test_a_new_time_to_live_reaches_the_client(
    stack: AsyncExitStack, changed: float
) -> None:
    """No answer is kept for longer than the new one; none is lost without need."""
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host], refresh_seconds=0.05)
    await client.predict(x=1)
    await until(lambda: client.metrics()["refreshes"].get("unchanged", 0) > 1)
    assert (await client.predict(x=1)).tier == "local"
    host.contract = contract(ttl_seconds=changed)
    await until(lambda: client.metrics()["refreshes"].get("changed", 0) == 1)
    assert client.version == VERSION
    again = await client.predict(x=1)
    assert (again, again.tier) == ({"y": 2}, "local" if changed > 60 else "model")
    once_more = await client.predict(x=1)
    assert (once_more, once_more.tier) == ({"y": 2}, "local" if changed else "model")
    checks = client.metrics()["refreshes"]["unchanged"]
    await until(lambda: client.metrics()["refreshes"]["unchanged"] > checks + 1)
    assert client.metrics()["refreshes"]["changed"] == 1


async def test_new_limits_reach_the_client_and_no_answer_is_lost(
    stack: AsyncExitStack,
) -> None:
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host], refresh_seconds=0.05)
    await client.predict_batch({"x": [1, 2, 3]})
    host.contract = contract(max_rows=2)
    await until(lambda: client.metrics()["refreshes"].get("changed", 0) == 1)
    host.bodies.clear()
    known = await client.predict_batch({"x": [1, 2, 3]})
    assert ([answer.tier for answer in known], host.bodies) == (["local"] * 3, [])
    await client.predict_batch({"x": [4, 5, 6, 7]})
    sizes = [len(orjson.loads(body)["x"]) for body in host.bodies]
    assert sizes == [2, 2]


async def test_a_given_contract_is_not_replaced_by_an_equal_one(
    stack: AsyncExitStack,
) -> None:
    """Nor are answers lost when a service has another etag for the same contract."""
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host], refresh_seconds=0.05, contract=contract())
    await client.predict(x=1)
    host.etag = '"another"'
    checks = client.metrics()["refreshes"].get("unchanged", 0)
    await until(lambda: client.metrics()["refreshes"].get("unchanged", 0) > checks + 2)
    assert "changed" not in client.metrics()["refreshes"]
    assert 'If-None-Match: "another"' in host.heads[-1]
    assert (await client.predict(x=1)).tier == "local"


async def test_a_row_for_a_version_that_is_not_known_yet(
    stack: AsyncExitStack,
) -> None:
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host])
    newer = replace(contract(NEW).signature.inputs[0], name="z")
    signature = replace(contract().signature, inputs=(newer,))
    host.contract = replace(contract(NEW), signature=signature)
    host.respond = always(answered({"y": 7.0}, NEW))
    assert await client.predict(z=1) == {"y": 7}
    with pytest.raises(InvalidInput, match="no such input"):
        await client.predict(x=1)


@pytest.mark.parametrize("are_known", [False, True])
async def test_a_new_version_during_a_stream(
    stack: AsyncExitStack, are_known: bool
) -> None:
    """Each answer is of the version that it names, and soon all are of the new one.

    are_known: the rows are answered locally, so only a check finds the new version.
    """
    (host,) = await hosts(stack, works)
    client = await connected(stack, [host], refresh_seconds=0.05 if are_known else 0)
    if are_known:
        await client.predict_batch({"x": [float(n) for n in range(8)]})
    factors = {VERSION: 2.0, NEW: 3.0}
    seen = list[str]()
    rows = ({"x": n % 8.0 if are_known else float(n)} for n in range(10**9))
    async for answer in client.stream(rows, window=32):
        x = len(seen) % 8.0 if are_known else float(len(seen))
        assert answer["y"] == x * factors[answer.version]
        seen.append(answer.version)
        if len(seen) == 200:
            host.respond = trebles
            host.contract = contract(NEW)
        if seen[-100:] == [NEW] * 100 and client.version == NEW:
            break
        await asyncio.sleep(0)
    assert seen[:200] == [VERSION] * 200
    first = seen.index(NEW)
    assert set(seen[first + 64 :]) == {NEW}  # rows under way may have been of either
