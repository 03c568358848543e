"""A tier in real servers of every kind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gomlx.cache.redis.tier import NEVER, RedisTier
from tests.cache.redis.tiers import names, tier
from tests.support.certificates import Certificates
from tests.support.redis_servers import (
    Server,
    cluster,
    cluster_url,
    server,
    until,
    watched,
)
from tests.support.relay import Relay

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def nodes(stack: ExitStack, folder: Path) -> list[Server]:
    return stack.enter_context(cluster(folder / "cluster"))


def _password(stack: ExitStack, here: Path) -> dict[str, Any]:
    one = stack.enter_context(server(here, "requirepass pw", login=["pw"]))
    return {"url": f"redis://:pw@127.0.0.1:{one.port}/3"}


def _acl(stack: ExitStack, here: Path) -> dict[str, Any]:
    rules = "user default off", "user app on >pw ~* +@all"
    one = stack.enter_context(server(here, *rules, login=["app", "pw"]))
    return {"url": one.url, "username": "app", "password": "pw"}


def _unix(stack: ExitStack, here: Path) -> dict[str, Any]:
    stack.enter_context(server(here, f"unixsocket {here}/socket"))
    return {"url": f"unix://{here}/socket?db=1"}


def _tls(stack: ExitStack, here: Path) -> dict[str, Any]:
    one = stack.enter_context(server(here))
    certificates = Certificates(here / "tls")
    relay = stack.enter_context(
        Relay(one.port, certificates.context(verifies_clients=True))
    )
    files = {"ca_file": str(certificates.ca), "cert_file": str(certificates.client)}
    return {"url": f"rediss://localhost:{relay.port}/0"} | files


def _sentinel(stack: ExitStack, here: Path) -> dict[str, Any]:
    return {"url": stack.enter_context(watched(here)).url}


WAYS = {
    "password": _password,
    "acl": _acl,
    "unix": _unix,
    "tls": _tls,
    "sentinel": _sentinel,
}


@pytest.fixture(scope="module")
def way(request: pytest.FixtureRequest, stack: ExitStack, folder: Path) -> Any:
    """The options of a tier over one kind of server."""
    kind: str = request.param
    if kind == "plain":
        return {"url": request.getfixturevalue("plain").url}
    if kind == "cluster":
        return {"url": cluster_url(request.getfixturevalue("nodes"))}
    return WAYS[kind](stack, folder / kind)


@pytest_asyncio.fixture
async def opened(way: dict[str, Any]) -> AsyncIterator[RedisTier]:
    made = tier(**way)
    yield made
    await made.close()


each_kind = pytest.mark.parametrize("way", ["plain", "cluster", *WAYS], indirect=True)


@each_kind
async def test_values_are_kept_and_found(opened: RedisTier) -> None:
    some = names(50)
    assert await opened.get_many(some) == [None] * 50
    values = {name: (b"\0\xff" + name, 60_000) for name in some[:30]}
    await opened.set_many(values)
    found = await opened.get_many(some)
    assert found == [b"\0\xff" + name for name in some[:30]] + [None] * 20
    assert await opened.get_many([some[40], some[2], some[2]]) == [
        None,
        b"\0\xff" + some[2],
        b"\0\xff" + some[2],
    ]


@each_kind
async def test_values_live_as_long_as_they_should(opened: RedisTier) -> None:
    short, long, none = names(3)
    await opened.set_many({short: (b"1", 30), long: (b"2", 60_000), none: (b"3", 0)})
    ttls = await opened.remaining_ttl([short, long, none])
    assert 0 <= ttls[0] <= 30
    assert 30_000 < ttls[1] <= 60_000
    assert ttls[2] == 0
    while (await opened.get_many([short]))[0] is not None:
        await asyncio.sleep(0.01)
    assert await opened.remaining_ttl([short]) == [0]


@each_kind
async def test_values_are_deleted(opened: RedisTier) -> None:
    some = names(20)
    await opened.set_many(dict.fromkeys(some, (b"1", 60000)))
    await opened.delete(some[:10])
    assert await opened.get_many(some) == [None] * 10 + [b"1"] * 10


@each_kind
async def test_a_lease_has_one_holder(opened: RedisTier, way: dict[str, Any]) -> None:
    some = names(20)
    other = tier(**way)
    both = await asyncio.gather(
        opened.acquire(some, 60_000), other.acquire(some, 60_000)
    )
    assert all(mine != theirs for mine, theirs in zip(*both, strict=True))
    assert 0 < min(await opened.remaining_ttl(some)) <= 60_000
    await opened.delete(some)
    assert all(await other.acquire(some, 60_000))
    await other.close()


@each_kind
async def test_without_names_nothing_is_sent(opened: RedisTier) -> None:
    assert await opened.get_many([]) == []
    assert await opened.remaining_ttl([]) == []
    assert await opened.acquire([], 1) == []
    await opened.set_many({})
    await opened.delete([])


@each_kind
async def test_a_server_answers_and_describes_itself(opened: RedisTier) -> None:
    await opened.ping()
    info = await opened.info()
    assert info["redis_version"]
    assert info["role"] == "master"


@each_kind
async def test_a_server_tells_how_much_it_holds(opened: RedisTier) -> None:
    before = await opened.usage()
    await opened.set_many(dict.fromkeys(names(100), (b"x" * 1000, 60000)))
    after = await opened.usage()
    assert after.entries - before.entries == 100
    assert after.bytes - before.bytes > 50_000
    assert after.evicted_entries == 0
    assert after.size_bytes is None
    await opened.delete(names(100))


async def test_what_a_server_may_hold_and_has_dropped(folder: Path) -> None:
    options = ("maxmemory 3mb", "maxmemory-policy allkeys-lru")
    with server(folder / "small", *options) as one:
        opened = tier(one.url)
        await opened.set_many(dict.fromkeys(names(500), (b"x" * 10000, 60000)))
        usage = await opened.usage()
        assert usage.size_bytes == 3 << 20
        assert usage.evicted_entries > 0
        assert usage.entries == 500 - usage.evicted_entries
        await opened.close()


@each_kind
async def test_more_at_once_than_there_are_connections(opened: RedisTier) -> None:
    some = names(200)
    await asyncio.gather(*(opened.set_many({n: (n, 60_000)}) for n in some))
    found = await asyncio.gather(*(opened.get_many([n]) for n in some))
    assert found == [[name] for name in some]


async def test_no_more_connections_than_allowed(folder: Path) -> None:
    with server(folder / "count") as one:
        opened = tier(one.url, max_connections=3)
        await asyncio.gather(*(opened.get_many(names(1)) for _ in range(100)))
        clients = one.execute("CLIENT", "LIST").splitlines()
        assert sum("name=gomlx" in client for client in clients) == 3
        await opened.close()
        until(lambda: "name=gomlx" not in one.execute("CLIENT", "LIST"))


async def test_a_tier_connects_when_it_is_first_used() -> None:
    unmade = tier("redis+cluster://nowhere.invalid:1")
    await unmade.close()


async def test_a_value_that_never_expires_and_a_list_that_is_no_value(
    plain: Server,
) -> None:
    opened = tier(plain.url)
    forever, a_list = names(2)
    plain.execute("SET", forever.decode(), "x")
    plain.execute("LPUSH", a_list.decode(), "x")
    assert await opened.remaining_ttl([forever]) == [NEVER]
    assert await opened.get_many([forever, a_list]) == [b"x", None]
    await opened.close()


async def test_a_cluster_is_used_whole(nodes: list[Server]) -> None:
    opened = tier(cluster_url(nodes[:1]))
    before = [node.execute("DBSIZE") for node in nodes]
    some = names(300)
    await opened.set_many({name: (name, 60_000) for name in some})
    added = [node.execute("DBSIZE") - b for node, b in zip(nodes, before, strict=True)]
    assert sum(added) == 300
    assert min(added) > 30
    a_list = names(1)[0].decode()
    for node in nodes:  # the one that has its slot takes it
        node.execute("LPUSH", a_list, "x")
    assert await opened.get_many([*some, a_list.encode()]) == [*some, None]
    await opened.close()


async def test_slots_that_move_are_followed(nodes: list[Server]) -> None:
    for node in nodes:
        node.execute("FLUSHALL")
    opened = tier(cluster_url(nodes))
    some = names(64)
    await opened.set_many({name: (name, 60_000) for name in some})
    first, second, _ = nodes
    for name in some:
        slot = first.execute("CLUSTER", "KEYSLOT", name.decode())
        if slot < 16384 // 3:
            _move(first, second, slot, name.decode())
    assert first.execute("DBSIZE") == 0
    assert await opened.get_many(some) == some
    await opened.set_many(dict.fromkeys(some, (b"new", 60_000)))
    assert await opened.get_many(some) == [b"new"] * 64
    await opened.close()


def _move(source: Server, target: Server, slot: int, name: str) -> None:
    home = target.execute("CLUSTER", "MYID")
    target.execute(
        "CLUSTER", "SETSLOT", slot, "IMPORTING", source.execute("CLUSTER", "MYID")
    )
    source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", home)
    source.execute("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
    for node in (target, source):
        node.execute("CLUSTER", "SETSLOT", slot, "NODE", home)
