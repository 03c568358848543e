"""A tier in Redis: one server, the master that a Sentinel knows, or a cluster.

Nothing here waits without a bound, and a command that is cancelled or late takes its
connection with it: redis-py closes one that owes a reply, so no later command can read
the reply of an earlier one (tests/cache/redis/test_tier.py holds it to that).
"""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gomlx.cache.redis.address import Address, parse
from gomlx.cache.redis.faults import explained
from gomlx.cache.redis.parser import BoundedParser
from gomlx.config.masking import masked
from gomlx.errors import TierFailed

NEVER = 1 << 53  # milliseconds to live of what does not expire
_T = TypeVar("_T")
_Command = tuple[bytes | str | int, ...]
_LONGEST_REASON = 200
_STRANGE = exceptions.InvalidResponse("a reply to another question")


class RedisTier:
    """A SharedTier in Redis. For one event loop; connects when it is first used.

    An operation takes at most timeout_seconds, with a Sentinel or a cluster once more
    for each host of the url that is asked for the way, and for the way there.
    """

    def __init__(  # noqa: PLR0913  # what a connection of the config says
        self,
        url: str,
        *,
        username: str | None,
        password: str | None,
        ca_file: str | None,
        cert_file: str | None,
        key_file: str | None,
        timeout_seconds: float,
        max_connections: int,
    ) -> None:
        try:
            self._address = address = parse(url)
        except ValueError as error:
            raise TierFailed(str(error), "url") from None
        self._options: dict[str, Any] = {
            "username": username or address.username,
            "password": password or address.password,
            "client_name": "gomlx",
            "driver_info": None,  # one command less on connecting
            "parser_class": BoundedParser,
            "protocol": 2,  # RESP3 is for pushed messages, and asks for HELLO
            "socket_connect_timeout": timeout_seconds,
            # Not for time-outs: what has not answered once may not take twice as long.
            "retry": Retry(NoBackoff(), 1, (exceptions.ConnectionError,)),
        }
        self._tls: dict[str, Any] = {
            "ssl_ca_certs": ca_file,
            "ssl_certfile": cert_file,
            "ssl_keyfile": key_file,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
        }
        self._max_connections = max_connections
        self._longest = timeout_seconds
        if address.kind in ("sentinel", "cluster"):
            # One host that hangs must not keep the others from being asked.
            self._options["socket_timeout"] = timeout_seconds
            self._longest *= 2 + len(address.hosts)
        else:  # PERF: a timer a reply makes a look-up cost twice as much (see _bounded)
            self._options["socket_timeout"] = None
        self._free = asyncio.Semaphore(max_connections)
        self._client: Redis | RedisCluster | None = None
        self._sentinel: Sentinel | None = None
        self._token = b""

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of names; None for what is not there."""
        if not names:
            return []
        if self._address.kind != "cluster":
            found = await self._bounded(lambda client: client.mget(names))
            return self._values(found, len(names))
        # Keys of one command must share a slot, which those of a cluster rarely do.
        founds = await self._pipelined([("MGET", name) for name in names])
        return [value for found in founds for value in self._values(found, 1)]

    async def set_many(self, items: Mapping[bytes, tuple[bytes, int]]) -> None:
        """Keep values, each for so many milliseconds. Tries all before it raises."""
        await self._pipelined(
            [
                ("SET", name, value, "PX", milliseconds)
                for name, (value, milliseconds) in items.items()
                if milliseconds > 0
            ]
        )

    async def remaining_ttl(self, names: Sequence[bytes]) -> list[int]:
        """Return the milliseconds that each has to live: 0 for what is gone."""
        found = await self._pipelined([("PTTL", name) for name in names])
        if not all(type(left) is int for left in found):
            raise self._failed(_STRANGE)
        return [NEVER if left == -1 else max(left, 0) for left in found]

    async def delete(self, names: Sequence[bytes]) -> None:
        """Forget names."""
        await self._pipelined([("UNLINK", name) for name in names])

    async def take(self, names: Sequence[bytes], milliseconds: int) -> list[bool]:
        """Take a lease on each name that nobody holds; tell which were got."""
        self._token = self._token or secrets.token_bytes(8).hex().encode()
        lease = (self._token, "NX", "PX", milliseconds)
        found = await self._pipelined([("SET", name, *lease) for name in names])
        return [bool(taken) for taken in found]

    async def ping(self) -> None:
        """Ask for a sign of life; of a cluster, from every master."""
        await self._bounded(lambda client: client.ping())

    async def info(self) -> dict[str, Any]:
        """Return what the server tells of itself; of a cluster, one node."""
        node = {"target_nodes": "random"} if self._address.kind == "cluster" else {}
        told: dict[str, Any] = await self._bounded(lambda client: client.info(**node))
        return told

    async def close(self) -> None:
        """Let go of connections; nothing may be called afterwards."""
        for client in (self._client, self._sentinel):
            if client is not None:
                try:
                    async with asyncio.timeout(self._longest):
                        await client.aclose()
                except Exception as error:
                    raise self._failed(error) from None

    async def _pipelined(self, commands: list[_Command]) -> list[Any]:
        """Return a reply a command, having tried all; the first error is raised."""

        async def run(client: Redis | RedisCluster) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)

        replies = await self._bounded(run) if commands else []
        for reply in replies:
            if isinstance(reply, Exception):
                raise self._failed(reply)
        return replies

    def _values(self, found: Any, count: int) -> list[bytes | None]:
        """Check a reply to MGET: not all that speaks like Redis is one."""
        if type(found) is not list or len(found) != count:
            raise self._failed(_STRANGE)
        if not all(value is None or type(value) is bytes for value in found):
            raise self._failed(_STRANGE)
        return found

    async def _bounded(self, run: Callable[[Any], Awaitable[_T]]) -> _T:
        try:
            async with asyncio.timeout(self._longest), self._free:
                if self._client is None:
                    self._client = self._opened()
                return await run(self._client)
        except Exception as error:  # whatever it is, the answer is elsewhere
            raise self._failed(error) from None

    def _opened(self) -> Redis | RedisCluster:
        """Return the client, which connects by itself."""
        address, options = self._address, dict(self._options)
        if address.kind == "unix":
            options |= {"path": address.path, "db": address.database}
            return Redis.from_pool(self._pool(UnixDomainSocketConnection, options))
        options["socket_keepalive"] = True
        if address.kind == "server":
            ((host, port),) = address.hosts
            options |= {"host": host, "port": port, "db": address.database}
            if address.tls:
                return Redis.from_pool(self._pool(SSLConnection, options | self._tls))
            return Redis.from_pool(self._pool(Connection, options))
        if address.tls:
            options |= {"ssl": True, **self._tls}
        options["max_connections"] = self._max_connections
        if address.kind == "cluster":
            return _cluster(address, options)
        login = {
            "username": address.sentinel_username,
            "password": address.sentinel_password,
        }
        asking = options | login | {"client_name": None}
        del asking["parser_class"]  # no argument of those that ask
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            address.hosts, sentinel_kwargs=asking, **options
        )
        for sentinel in self._sentinel.sentinels:
            sentinel.connection_pool.connection_kwargs["parser_class"] = BoundedParser
        master: Redis = self._sentinel.master_for(address.master, db=address.database)
        return master

    def _pool(self, kind: type[Any], options: dict[str, Any]) -> ConnectionPool:
        return ConnectionPool(kind, self._max_connections, **options)

    def _failed(self, error: Exception) -> TierFailed:
        fault, said = explained(error, self._address)
        for secret in (self._options["password"], self._address.sentinel_password):
            if secret:
                said = said.replace(str(secret), "***")
        said = masked(said)[:_LONGEST_REASON]
        return TierFailed(f"{_place(self._address)}: {said}", fault)


def _cluster(address: Address, options: dict[str, Any]) -> RedisCluster:
    parser = {"parser_class": options.pop("parser_class")}  # no argument of its own
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    client = RedisCluster(startup_nodes=nodes, **options)
    client.connection_kwargs |= parser
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_kwargs |= parser
    return client


def _place(address: Address) -> str:
    hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
    master = f"{address.master} of " if address.master else ""
    return f"{master}{hosts or address.path}"
