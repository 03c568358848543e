"""A tier in real servers of every kind; and that no failure becomes an answer."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.tier import NEVER, RedisTier
from gomlx.errors import TierFailed
from tests.support.certificates import Certificates
from tests.support.listening import listening
from tests.support.redis_servers import (
    Server,
    cluster,
    cluster_url,
    free_port,
    replica,
    server,
    until,
    watched,
)
from tests.support.relay import Relay
from tests.support.service import state_of

pytestmark = pytest.mark.asyncio


def tier(url: str, **options: Any) -> RedisTier:
    patient: dict[str, Any] = {"timeout_seconds": 30.0, "max_connections": 4}
    return RedisTier(RedisOptions(url, **patient | options))


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="module")
def plain(stack: ExitStack, folder: Path) -> Server:
    return stack.enter_context(server(folder / "plain"))


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
    known = Certificates(here / "tls")
    relay = stack.enter_context(Relay(one.port, known.context(verifies_clients=True)))
    files = {"ca_file": str(known.ca), "cert_file": str(known.client)}
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


def names(count: int) -> list[bytes]:
    """Names that no test used before; enough of them meet every node of a cluster."""
    salt = random.randbytes(6).hex()
    return [f"gomlx:1:test:{salt}:{i}".encode() for i in range(count)]


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
async def test_more_at_once_than_there_are_connections(opened: RedisTier) -> None:
    some = names(200)
    await asyncio.gather(*(opened.set_many({n: (n, 60_000)}) for n in some))
    found = await asyncio.gather(*(opened.get_many([n]) for n in some))
    assert found == [[name] for name in some]


async def test_no_more_connections_than_allowed(folder: Path) -> None:
    with server(folder / "count") as one:
        opened = tier(one.url, max_connections=3)
        await asyncio.gather(*(opened.get_many(names(1)) for _ in range(100)))
        clients = one.ask("CLIENT", "LIST").splitlines()
        assert sum("name=gomlx" in client for client in clients) == 3
        await opened.close()
        until(lambda: "name=gomlx" not in one.ask("CLIENT", "LIST"))


async def test_a_tier_connects_when_it_is_first_used() -> None:
    unmade = tier("redis+cluster://nowhere.invalid:1")
    await unmade.close()


async def test_a_value_that_never_expires_and_a_list_that_is_no_value(
    plain: Server,
) -> None:
    opened = tier(plain.url)
    forever, a_list = names(2)
    plain.ask("SET", forever.decode(), "x")
    plain.ask("LPUSH", a_list.decode(), "x")
    assert await opened.remaining_ttl([forever]) == [NEVER]
    assert await opened.get_many([forever, a_list]) == [b"x", None]
    await opened.close()


async def test_a_cluster_is_used_whole(nodes: list[Server]) -> None:
    opened = tier(cluster_url(nodes[:1]))
    before = [node.ask("DBSIZE") for node in nodes]
    some = names(300)
    await opened.set_many({name: (name, 60_000) for name in some})
    added = [node.ask("DBSIZE") - b for node, b in zip(nodes, before, strict=True)]
    assert sum(added) == 300
    assert min(added) > 30
    a_list = names(1)[0].decode()
    for node in nodes:  # the one that has its slot takes it
        node.ask("LPUSH", a_list, "x")
    assert await opened.get_many([*some, a_list.encode()]) == [*some, None]
    await opened.close()


async def test_slots_that_move_are_followed(nodes: list[Server]) -> None:
    for node in nodes:
        node.ask("FLUSHALL")
    opened = tier(cluster_url(nodes))
    some = names(64)
    await opened.set_many({name: (name, 60_000) for name in some})
    first, second, _ = nodes
    for name in some:
        slot = first.ask("CLUSTER", "KEYSLOT", name.decode())
        if slot < 16384 // 3:
            _move(first, second, slot, name.decode())
    assert first.ask("DBSIZE") == 0
    assert await opened.get_many(some) == some
    await opened.set_many(dict.fromkeys(some, (b"new", 60_000)))
    assert await opened.get_many(some) == [b"new"] * 64
    await opened.close()


def _move(source: Server, target: Server, slot: int, name: str) -> None:
    home = target.ask("CLUSTER", "MYID")
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", home)
    source.ask("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
    for node in (target, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", home)


async def succeeds(run: Any, seconds: float = 60) -> Any:
    """Repeat an operation until it succeeds; every failure must be a TierFailed."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await run()
            except TierFailed:
                await asyncio.sleep(0.05)


async def test_a_new_master_is_found(folder: Path) -> None:
    with watched(folder / "failover", 500) as all_three:
        opened = tier(all_three.url, timeout_seconds=0.5)
        (name,) = names(1)
        await succeeds(lambda: opened.set_many({name: (b"1", 60_000)}))
        until(lambda: all_three.replica.ask("GET", name.decode()) == "1")
        all_three.master.process.kill()
        await succeeds(lambda: opened.set_many({name: (b"2", 60_000)}))
        assert await succeeds(lambda: opened.get_many([name])) == [b"2"]
        assert all_three.replica.ask("GET", name.decode()) == "2"
        await opened.close()


async def test_a_master_that_became_a_replica_is_abandoned(folder: Path) -> None:
    with watched(folder / "demoted") as all_three:
        opened = tier(all_three.url, timeout_seconds=0.5)
        (name,) = names(1)
        await succeeds(lambda: opened.set_many({name: (b"1", 60_000)}))
        assert all_three.sentinel.ask("SENTINEL", "FAILOVER", "main") == "OK"
        until(lambda: "role:master" in all_three.replica.ask("INFO", "replication"))
        # The Sentinel would do it, too, but only after ten seconds.
        all_three.master.ask("REPLICAOF", "127.0.0.1", all_three.replica.port)
        await succeeds(lambda: opened.set_many({name: (b"2", 60_000)}))
        assert all_three.replica.ask("GET", name.decode()) == "2"
        await opened.close()


async def test_a_server_that_came_back_is_used_without_a_failure(folder: Path) -> None:
    with server(folder / "first") as first:
        opened = tier(first.url)
        await asyncio.gather(*(opened.ping() for _ in range(20)))
    with server(folder / "second", port=first.port):
        for _ in range(8):
            assert await opened.get_many(names(3)) == [None] * 3
    await opened.close()


@pytest.mark.parametrize("kind", ["plain", "cluster"])
async def test_a_connection_with_an_unread_reply_is_discarded(
    folder: Path, kind: str
) -> None:
    """Each name has a value of its own: a reply to another command would show."""
    port = free_port()
    with Relay(port) as relay, ExitStack() as stack:
        announced = f"cluster-announce-port {relay.port}"
        options = [] if kind == "plain" else ["cluster-enabled yes", announced]
        backend = stack.enter_context(
            server(folder / f"late-{kind}", *options, port=port)
        )
        url = f"redis://127.0.0.1:{relay.port}"
        if kind == "cluster":
            backend.ask("CLUSTER", "ADDSLOTS", *range(16384))
            until(lambda: "cluster_state:ok" in backend.ask("CLUSTER", "INFO"))
            url = f"redis+cluster://127.0.0.1:{relay.port}"
        opened = tier(url, timeout_seconds=0.03)
        some = names(30)
        for name in some:
            backend.ask("SET", name.decode(), f"value of {name.decode()}")
        ends = dict.fromkeys(("answered", "cancelled", "failed"), 0)
        chosen = random.Random(1)
        rounds = 0
        async with asyncio.timeout(120):
            while rounds < 40 or min(ends.values()) <= 10:  # as quick as the machine is
                rounds += 1
                relay.delay_seconds = chosen.choice((0, 0.005, 0.02, 0.04))
                several = (chosen.sample(some, 3) for _ in range(5))
                await asyncio.gather(
                    *(_tried(opened, three, chosen, ends) for three in several)
                )
        relay.delay_seconds = 0
        await succeeds(opened.ping)
        # No connection was lost to the pool either: all four can be had at once.
        await asyncio.gather(*(succeeds(opened.ping) for _ in range(40)))
        for name in some:
            got = await succeeds(lambda name=name: opened.get_many([name]))
            assert got == [b"value of " + name]
        await opened.close()


async def _tried(
    opened: RedisTier, some: list[bytes], chosen: random.Random, ends: dict[str, int]
) -> None:
    asking = asyncio.ensure_future(opened.get_many(some))
    if chosen.random() < 0.5:
        asyncio.get_running_loop().call_later(chosen.random() / 40, asking.cancel)
    try:
        found = await asking
    except TierFailed:
        ends["failed"] += 1
    except asyncio.CancelledError:
        ends["cancelled"] += 1
    else:
        ends["answered"] += 1
        assert found == [b"value of " + name for name in some]


async def test_a_paused_server_is_a_time_out(folder: Path) -> None:
    with server(folder / "paused") as one:
        opened = tier(one.url, timeout_seconds=0.2, max_connections=2)
        some = names(2)
        values = {name: (name, 60_000) for name in some}
        await succeeds(lambda: opened.set_many(values))
        os.kill(one.process.pid, signal.SIGSTOP)
        until(lambda: state_of(one.process.pid) == "T")
        tries = (opened.get_many([name]) for name in some * 4)
        ended = await asyncio.gather(*tries, return_exceptions=True)
        os.kill(one.process.pid, signal.SIGCONT)
        assert {getattr(error, "fault", error) for error in ended} == {"timeout"}
        for name in some:
            assert await succeeds(lambda name=name: opened.get_many([name])) == [name]
        await opened.close()


async def failure(opened: RedisTier, run: Any) -> TierFailed:
    with pytest.raises(TierFailed) as caught:
        await run
    await opened.close()
    assert len(str(caught.value)) < 300
    for secret in ("hunter2", "wrong!", "swordfish"):
        assert secret not in str(caught.value)
    return caught.value


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    opened = tier("redis://app:hunter2@127.0.0.1:1")
    assert (await failure(opened, opened.ping())).fault == "refused"
    opened = tier(f"unix://{tmp_path}/none", password="hunter2")
    assert (await failure(opened, opened.ping())).fault == "no-socket"
    opened = tier("redis+cluster://app:hunter2@127.0.0.1:1,127.0.0.1:2")
    assert (await failure(opened, opened.get_many([b"a"]))).fault == "refused"
    opened = tier("redis+sentinel://:hunter2@127.0.0.1:1/m?sentinel_password=swordfish")
    assert (await failure(opened, opened.get_many([b"a"]))).fault == "unreachable"


async def test_a_password_that_is_wrong(folder: Path) -> None:
    with server(folder / "auth", "requirepass swordfish", login=["swordfish"]) as one:
        opened = tier(one.url, password="wrong!")
        assert (await failure(opened, opened.ping())).fault == "password"
        opened = tier(one.url)
        assert (await failure(opened, opened.ping())).fault == "password-needed"


async def test_a_server_without_room_fails_writes_only(folder: Path) -> None:
    with server(folder / "full", "maxmemory 1", "maxmemory-policy noeviction") as one:
        opened = tier(one.url)
        assert await opened.get_many([b"a"]) == [None]
        failed = await failure(opened, opened.set_many({b"a": (b"hunter2", 1000)}))
        assert failed.fault == "memory"


async def test_a_replica_fails_writes_only(folder: Path, plain: Server) -> None:
    with replica(folder / "replica", plain) as one:
        opened = tier(one.url)
        assert await opened.get_many([b"a"]) == [None]
        failed = await failure(opened, opened.set_many({b"a": (b"hunter2", 1000)}))
        assert failed.fault == "read-only"


async def test_all_are_tried_before_the_failure_of_one_is_raised(folder: Path) -> None:
    """A user may write some names only; those are written whatever comes first."""
    rules = "user default off", "user app on >swordfish ~mine:* +@all"
    with server(folder / "some", *rules, login=["app", "swordfish"]) as one:
        opened = tier(one.url, username="app", password="swordfish")
        items = {b"theirs:1": (b"1", 60_000), b"mine:1": (b"1", 60_000)}
        with pytest.raises(TierFailed) as caught:
            await opened.set_many(items)
        assert caught.value.fault == "permission"
        assert await opened.get_many([b"mine:1"]) == [b"1"]
        await opened.close()


@pytest.mark.parametrize("form", ["redis://{}/0", "redis+cluster://{}"])
async def test_an_endless_list_is_not_read(form: str) -> None:
    """hiredis would allocate it, and take seconds of the event loop to free it."""

    async def endless(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while await reader.read(1000):
            for part in (b"*", b"1", b"0", b"000", b"0000\r\n"):  # its head in parts
                writer.write(part)
                await asyncio.sleep(0.01)

    async with listening(endless) as port:
        noisy = tier(form.format(f"127.0.0.1:{port}"))
        with pytest.raises(TierFailed, match="longer than requested"):
            await noisy.get_many([b"a"])
        await noisy.close()


@pytest.mark.parametrize(
    "reply", [b":1", b"+OK", b"$1\r\n1", b"*1\r\n$1\r\n1", b"*2\r\n:1\r\n:2", b"*-1"]
)
async def test_a_reply_of_another_shape_is_a_failure(reply: bytes) -> None:
    async def strange(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while request := await reader.read(1000):
            is_setting = b"CLIENT" in request
            writer.write((b"+OK" if is_setting else reply) + b"\r\n")

    async with listening(strange) as port:
        noisy = tier(f"redis://127.0.0.1:{port}/0")
        with pytest.raises(TierFailed, match="another command"):
            await noisy.get_many([b"a", b"b"])
        if reply != b":1":
            with pytest.raises(TierFailed, match="another command"):
                await noisy.remaining_ttl([b"a"])
        await noisy.close()
