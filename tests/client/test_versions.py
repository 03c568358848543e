"""Hosts whose model changes: no old answer passes for a new one."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import orjson
import pytest

from gomlx.errors import InvalidInput
from tests.client.fake import VERSION, answered, client, contract, hosts, says, works

pytestmark = pytest.mark.asyncio
NEW = "b" * 32


async def trebles(body: bytes, _: asyncio.StreamWriter) -> bytes:
    """What a host of the new version says."""
    asked = orjson.loads(body)
    if "batch_size" not in asked:
        return answered({"y": asked["x"] * 3.0}, NEW)
    return answered([{"y": x * 3.0} for x in asked["x"]], NEW)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_response_of_a_new_version_starts_one_look(
    stack: AsyncExitStack,
) -> None:
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host])
    assert await asking.predict(x=1) == {"y": 2}
    host.say, host.contract = trebles, contract(NEW)
    answers = await asyncio.gather(*(asking.predict(x=n) for n in range(2, 30)))
    assert [(a["y"], a.version) for a in answers] == [
        (3 * n, NEW) for n in range(2, 30)
    ]
    await until(lambda: asking.version == NEW)
    assert sum(head.startswith("GET") for head in host.heads) == 1
    again = await asking.predict(x=1)
    assert (again, again.tier, again.version) == ({"y": 3}, "model", NEW)


async def test_a_batch_is_of_one_version(stack: AsyncExitStack) -> None:
    """What is known is of the old version, what is asked of the new one."""
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host])
    await asking.predict_batch({"x": [1, 2, 3]})
    host.say, host.contract = trebles, contract(NEW)
    answers = await asking.predict_batch({"x": [1, 2, 3, 4]})
    assert [a["y"] for a in answers] == [3, 6, 9, 12]
    assert {a.version for a in answers} == {NEW}


async def test_hits_alone_do_not_hide_a_new_version(stack: AsyncExitStack) -> None:
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host], refresh_seconds=0.05)
    await asking.predict(x=1)
    host.say, host.contract = trebles, contract(NEW)
    await until(lambda: asking.version == NEW)
    assert await asking.predict(x=1) == {"y": 3}
    host.say, host.contract = works, contract()  # a roll-back finds what was kept
    await until(lambda: asking.version == VERSION)
    back = await asking.predict(x=1)
    assert (back, back.tier) == ({"y": 2}, "local")


@pytest.mark.parametrize("changed", [0.0, 5.0, 600.0])
async def test_another_time_to_live_reaches_the_client(
    stack: AsyncExitStack, changed: float
) -> None:
    """No answer stays for longer than is said now; none is lost for nothing."""
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host], refresh_seconds=0.05)
    await asking.predict(x=1)
    await until(lambda: asking.metrics()["refreshes"].get("unchanged", 0) > 1)
    assert (await asking.predict(x=1)).tier == "local"
    host.contract = contract(ttl_seconds=changed)
    await until(lambda: asking.metrics()["refreshes"].get("changed", 0) == 1)
    assert asking.version == VERSION
    again = await asking.predict(x=1)
    assert (again, again.tier) == ({"y": 2}, "local" if changed > 60 else "model")
    once_more = await asking.predict(x=1)
    assert (once_more, once_more.tier) == ({"y": 2}, "local" if changed else "model")
    looks = asking.metrics()["refreshes"]["unchanged"]
    await until(lambda: asking.metrics()["refreshes"]["unchanged"] > looks + 1)
    assert asking.metrics()["refreshes"]["changed"] == 1


async def test_other_limits_reach_the_client_and_no_answer_is_lost(
    stack: AsyncExitStack,
) -> None:
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host], refresh_seconds=0.05)
    await asking.predict_batch({"x": [1, 2, 3]})
    host.contract = contract(max_rows=2)
    await until(lambda: asking.metrics()["refreshes"].get("changed", 0) == 1)
    host.bodies.clear()
    known = await asking.predict_batch({"x": [1, 2, 3]})
    assert ([answer.tier for answer in known], host.bodies) == (["local"] * 3, [])
    await asking.predict_batch({"x": [4, 5, 6, 7]})
    sizes = [len(orjson.loads(body)["x"]) for body in host.bodies]
    assert sizes == [2, 2]


async def test_a_contract_that_was_given_is_not_learned_again(
    stack: AsyncExitStack,
) -> None:
    """Nor are answers lost when a service tags the same contract otherwise."""
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host], refresh_seconds=0.05, contract=contract())
    await asking.predict(x=1)
    assert asking._core.client_model
    asking._core.client_model.tag = '"another"'
    await until(lambda: asking.metrics()["refreshes"].get("unchanged", 0) > 2)
    assert "changed" not in asking.metrics()["refreshes"]
    assert asking._core.client_model.tag == f'"{contract().tag}"'
    assert (await asking.predict(x=1)).tier == "local"


async def test_a_question_for_a_version_that_is_not_known_yet(
    stack: AsyncExitStack,
) -> None:
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host])
    newer = replace(contract(NEW).signature.inputs[0], name="z")
    signature = replace(contract().signature, inputs=(newer,))
    host.contract = replace(contract(NEW), signature=signature)
    host.say = says(answered({"y": 7.0}, NEW))
    assert await asking.predict(z=1) == {"y": 7}
    with pytest.raises(InvalidInput, match="no such input"):
        await asking.predict(x=1)


@pytest.mark.parametrize("are_known", [False, True])
async def test_a_new_version_in_the_middle_of_a_stream(
    stack: AsyncExitStack, are_known: bool
) -> None:
    """Each answer is of the version that it says, and the new one is soon everybody's.

    are_known: the rows are answered here, so only a look can tell.
    """
    (host,) = await hosts(stack, works)
    asking = await client(stack, [host], refresh_seconds=0.05 if are_known else 0)
    if are_known:
        await asking.predict_batch({"x": [float(n) for n in range(8)]})
    factors = {VERSION: 2.0, NEW: 3.0}
    seen = list[str]()
    rows = ({"x": n % 8.0 if are_known else float(n)} for n in range(10**9))
    async for answer in asking.stream(rows, window=32):
        x = len(seen) % 8.0 if are_known else float(len(seen))
        assert answer["y"] == x * factors[answer.version]
        seen.append(answer.version)
        if len(seen) == 200:
            host.say, host.contract = trebles, contract(NEW)
        if seen[-100:] == [NEW] * 100 and asking.version == NEW:
            break
        await asyncio.sleep(0)
    assert seen[:200] == [VERSION] * 200
    first = seen.index(NEW)
    assert set(seen[first + 64 :]) == {NEW}  # of what was under way there may be both
