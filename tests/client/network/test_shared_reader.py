"""The shared tier, when it works and when it fails."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from gomlx import AsyncClient, FakeTransport
from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.tier import RedisTier
from gomlx.client.local.client_model import ClientModel
from gomlx.client.network.shared_reader import SharedReader
from gomlx.client.options import Options
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from tests.client.fake import QUIET, contract
from tests.support import redis_servers

pytestmark = pytest.mark.asyncio


def tier(url: str) -> RedisTier:
    return RedisTier(RedisOptions(url, timeout_seconds=30.0, max_connections=2))


async def test_lookups_of_one_turn_share_a_command(tmp_path: Path) -> None:
    with redis_servers.server(tmp_path) as redis:
        shared = SharedReader(tier(redis.url), 30.0)
        names = [f"name-{n}".encode() for n in range(1000)]
        redis.execute(
            "MSET", *[x for n in names[::2] for x in (n.decode(), n.decode())]
        )
        await shared.get_many([b"first"])  # connects
        before = commands(redis)
        found = await asyncio.gather(*(shared.get_many([name]) for name in names))
        assert [value for (value,) in found] == [
            None if n % 2 else name for n, name in enumerate(names)
        ]
        assert commands(redis) == before + 1
        await shared.close()


def names_of(*rows: tuple[float]) -> list[bytes]:
    """The names of answers to rows of the model of `contract`."""
    return ClientModel(contract(), QUIET).shared_names(rows)


def commands(redis: redis_servers.Server) -> int:
    stats = redis.execute("INFO", "commandstats")
    (line,) = (x for x in stats.splitlines() if x.startswith("cmdstat_mget"))
    return int(line.partition("calls=")[2].partition(",")[0])


@pytest.mark.parametrize("value", ["", "nonsense", '{"z":1}', '{"y":null}'])
async def test_a_value_that_is_no_answer_is_a_miss(tmp_path: Path, value: str) -> None:
    transport = FakeTransport(lambda row: {"y": row["x"] * 2.0}, {"x": "float32"})
    transport.version = contract().version
    with redis_servers.server(tmp_path) as redis:
        async with AsyncClient(
            "m",
            "http://fake",
            contract=contract(),
            redis=redis.url,
            transport=transport,
            options=Options(refresh_seconds=0, redis_seconds=30.0),
        ) as client:
            (name,) = names_of((1.5,))
            redis.execute("SET", name.decode(), '{"y":7.5}')
            answer = await client.predict(x=1.5)
            assert (answer, answer.tier, answer.cached) == ({"y": 7.5}, "redis", True)
            (name,) = names_of((2.5,))
            redis.execute("SET", name.decode(), value)
            assert await client.predict(x=2.5) == {"y": 5.0}


class Holding(RedisTier):
    """A tier with the same value under every name."""

    value: bytes

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        return [self.value] * len(names)


EMBEDDED = Signature(
    (Tensor("x", "float32", (1,)),),
    (Tensor("emb", "float32", (3,)), Tensor("label", "string", ())),
)


@pytest.mark.parametrize(
    "value",
    [
        b'{"emb":["x",2,3],"label":"a"}',
        b'{"emb":[],"label":"a"}',
        b'{"emb":[[[1]]],"label":"a"}',
        b'{"emb":[1,2],"label":"a"}',
        b'{"emb":[1,2,3],"label":{"evil":1}}',
        b'{"emb":[1,2,3],"label":{"b64":"!"}}',
        b'{"emb":[1,2,3],"label":["a"]}',
    ],
)
@pytest.mark.parametrize("transforms", [False, True])
async def test_a_poisoned_list_or_text_fails_no_row(
    value: bytes, transforms: bool
) -> None:
    """The answer of a transformer may be any JSON, so there it is an answer."""
    good = {"emb": [1.0, 2.0, 3.0], "label": "good"}
    transport = FakeTransport(lambda row: good, {"x": "float32"}, contract().version)
    given = replace(contract(), signature=EMBEDDED, transforms=transforms)
    held = Holding(RedisOptions("redis://127.0.0.1:9"))
    held.value = value
    async with AsyncClient(
        "m",
        "http://fake",
        contract=given,
        redis=held,
        transport=transport,
        options=QUIET,
    ) as client:
        answer = await client.predict(x=1.0)
        assert answer == (orjson.loads(value) if transforms else good)
        assert answer.tier == ("redis" if transforms else "model")
        lookups = client.metrics()["lookups"]
        assert lookups == {"hit" if transforms else "bad": 1}


async def test_an_unreachable_tier_fails_no_call() -> None:
    transport = FakeTransport(lambda row: {"y": row["x"] * 2.0}, {"x": "float32"})
    async with AsyncClient(
        "m", "http://f", redis="redis://127.0.0.1:9", transport=transport, options=QUIET
    ) as client:
        for n in range(20):
            assert await client.predict(x=n) == {"y": 2 * n}
    assert len(transport.rows) == 20


async def test_a_stream_reads_the_shared_tier(tmp_path: Path) -> None:
    transport = FakeTransport(lambda row: {"y": row["x"] * 2.0}, {"x": "float32"})
    transport.version = contract().version
    options = Options(refresh_seconds=0, redis_seconds=30.0)
    with redis_servers.server(tmp_path) as redis:
        async with AsyncClient(
            "m",
            "http://fake",
            contract=contract(),
            redis=redis.url,
            transport=transport,
            options=options,
        ) as client:
            names = names_of(*((float(n),) for n in range(0, 500, 2)))
            shared = [(name.decode(), f'{{"y":{n}.5}}') for n, name in enumerate(names)]
            redis.execute("MSET", *(word for pair in shared for word in pair))
            rows = [{"x": float(n)} for n in range(500)]
            answers = [answer async for answer in client.stream(rows, window=64)]
            are_shared = [answer.tier == "redis" for answer in answers]
            assert are_shared == [True, False] * 250
            assert [answer["y"] for answer in answers] == [
                n / 2 + 0.5 if n % 2 == 0 else 2 * n for n in range(500)
            ]
            assert len(transport.rows) == 250
