"""Servers that fail, move or answer nonsense: no failure becomes an answer."""

import asyncio
import os
import random
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gomlx.cache.redis.tier import RedisTier
from gomlx.errors import TierFailed
from tests.cache.redis.tiers import names, succeeds, tier
from tests.support.listening import listening
from tests.support.processes import state_of
from tests.support.redis_servers import (
    Server,
    free_port,
    replica,
    server,
    until,
    watched,
)
from tests.support.relay import Relay

pytestmark = pytest.mark.asyncio


async def test_a_new_master_is_found(folder: Path) -> None:
    with watched(folder / "failover", 500) as all_three:
        opened = tier(all_three.url, timeout_seconds=0.5)
        (name,) = names(1)
        await succeeds(lambda: opened.set_many({name: (b"1", 60_000)}))
        until(lambda: all_three.replica.execute("GET", name.decode()) == "1")
        all_three.master.process.kill()
        await succeeds(lambda: opened.set_many({name: (b"2", 60_000)}))
        assert await succeeds(lambda: opened.get_many([name])) == [b"2"]
        assert all_three.replica.execute("GET", name.decode()) == "2"
        await opened.close()


async def test_a_master_that_became_a_replica_is_abandoned(folder: Path) -> None:
    with watched(folder / "demoted") as all_three:
        opened = tier(all_three.url, timeout_seconds=0.5)
        (name,) = names(1)
        await succeeds(lambda: opened.set_many({name: (b"1", 60_000)}))
        assert all_three.sentinel.execute("SENTINEL", "FAILOVER", "main") == "OK"
        until(lambda: "role:master" in all_three.replica.execute("INFO", "replication"))
        # The Sentinel would do it, too, but only after ten seconds.
        all_three.master.execute("REPLICAOF", "127.0.0.1", all_three.replica.port)
        await succeeds(lambda: opened.set_many({name: (b"2", 60_000)}))
        assert all_three.replica.execute("GET", name.decode()) == "2"
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
            backend.execute("CLUSTER", "ADDSLOTS", *range(16384))
            until(lambda: "cluster_state:ok" in backend.execute("CLUSTER", "INFO"))
            url = f"redis+cluster://127.0.0.1:{relay.port}"
        opened = tier(url, timeout_seconds=0.03)
        some = names(30)
        for name in some:
            backend.execute("SET", name.decode(), f"value of {name.decode()}")
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
    lookup = asyncio.ensure_future(opened.get_many(some))
    if chosen.random() < 0.5:
        asyncio.get_running_loop().call_later(chosen.random() / 40, lookup.cancel)
    try:
        found = await lookup
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
