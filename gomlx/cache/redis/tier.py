"""A tier in Redis: one server, the master that a Sentinel knows, or a cluster.

Every operation is bounded in time, and a command that is cancelled or late takes its
connection with it: redis-py closes one that still expects a reply, so no later command
can read the reply of an earlier one
(tests/cache/redis/test_failures.py verifies this).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import Redis, RedisCluster

from gomlx.cache.redis.address import Address, parse
from gomlx.cache.redis.client import Opened, open_client
from gomlx.cache.redis.faults import explained
from gomlx.cache.redis.options import ConfiguredConnection, RedisOptions
from gomlx.cache.redis.signatures import Signer
from gomlx.cache.tier import TierUsage
from gomlx.errors import TierFailed
from gomlx.runtime.masking import masked

NEVER = 1 << 53  # milliseconds to live of what does not expire
_T = TypeVar("_T")
_Command = tuple[bytes | str | int, ...]
_LONGEST_REASON = 200
_STRANGE = exceptions.InvalidResponse("a reply to another command")


class RedisTier:
    """A SharedTier in Redis. For one event loop; connects when it is first used.

    An operation takes at most timeout_seconds; with a Sentinel or a cluster as much
    again for each host of the url that may have to be tried, and for the one found.
    """

    def __init__(self, options: RedisOptions) -> None:
        """Raises TierFailed if the URL is invalid, ConfigInvalid if the key file is."""
        try:
            self._address = parse(options.url)
        except ValueError as error:
            raise TierFailed(str(error), "url") from None
        self._options = options
        self._timeout_seconds = options.timeout_seconds
        if self._address.kind in ("sentinel", "cluster"):
            self._timeout_seconds *= 2 + len(self._address.hosts)
        self._free = asyncio.Semaphore(options.max_connections)
        self._opened: Opened | None = None
        self._signer = Signer(options.sign_key_file) if options.sign_key_file else None
        self._token = secrets.token_hex(8).encode()  # of our leases

    @classmethod
    def from_config(cls, connection: ConfiguredConnection) -> "RedisTier":
        """Return the tier of a connection of the config.

        Raises ConfigInvalid if a file with a password or keys is not valid, TierFailed.
        """
        return cls(
            RedisOptions(
                url=connection.url,
                username=connection.username,
                password=connection.read_password(),
                ca_file=connection.ca_file,
                cert_file=connection.cert_file,
                key_file=connection.key_file,
                timeout_seconds=connection.timeout_seconds,
                max_connections=connection.max_connections,
                sign_key_file=connection.sign_key_file,
            )
        )

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of names; None where there is none.

        With keys, an empty value where none of them has signed it.
        """
        if not names:
            return []
        values = await self._values(names)
        if self._signer is None:
            return values
        self._signer.look()
        return self._signer.verified(names, values)

    async def set_many(self, items: Mapping[bytes, tuple[bytes, int]]) -> None:
        """Write values, each with its milliseconds. Tries all before it raises."""
        signed: Callable[[bytes, bytes], bytes] = _unsigned
        if self._signer is not None:
            self._signer.look()
            signed = self._signer.signed
        await self._pipelined(
            [
                ("SET", name, signed(name, value), "PX", milliseconds)
                for name, (value, milliseconds) in items.items()
                if milliseconds > 0
            ]
        )

    async def remaining_ttl(self, names: Sequence[bytes]) -> list[int]:
        """Return the milliseconds that each value has to live; 0 where there is none.

        NEVER for a value that does not expire.
        """
        ttls = await self._pipelined([("PTTL", name) for name in names])
        if not all(type(ttl) is int for ttl in ttls):
            raise self._failed(_STRANGE)
        return [NEVER if ttl == -1 else max(ttl, 0) for ttl in ttls]

    async def delete(self, names: Sequence[bytes]) -> None:
        """Delete values."""
        await self._pipelined([("UNLINK", name) for name in names])

    async def acquire(self, names: Sequence[bytes], milliseconds: int) -> list[bool]:
        """Acquire a lease on each name; return True for each that was free."""
        lease = (self._token, "NX", "PX", milliseconds)
        replies = await self._pipelined([("SET", name, *lease) for name in names])
        return [bool(reply) for reply in replies]

    async def ping(self) -> None:
        """Check that the server answers; of a cluster, every master."""
        await self._bounded(lambda client: client.ping())

    async def info(self) -> dict[str, Any]:
        """Return what the server reports of itself; of a cluster, one node."""
        node = {"target_nodes": "random"} if self._address.kind == "cluster" else {}
        info: dict[str, Any] = await self._bounded(lambda client: client.info(**node))
        return info

    async def usage(self) -> TierUsage:
        """Return the memory that the server uses, and the keys of our database.

        Of a cluster, the sums over its masters.
        """

        async def read(client: Any) -> list[dict[str, Any]]:
            if self._address.kind != "cluster":
                return [await client.info()]
            await client.initialize()
            nodes = client.get_primaries()
            infos = (client.info(target_nodes=node) for node in nodes)
            return [*await asyncio.gather(*infos)]

        database = self._address.database
        usages = [_usage(info, database) for info in await self._bounded(read)]
        sizes, *others = zip(*usages, strict=True)
        return TierUsage(sum(sizes) or None, *map(sum, others))

    async def close(self) -> None:
        """Close the connections; nothing may be called afterwards."""
        for client in self._opened or ():
            if client is not None:
                try:
                    async with asyncio.timeout(self._timeout_seconds):
                        await client.aclose()
                except Exception as error:
                    raise self._failed(error) from None

    async def _values(self, names: Sequence[bytes]) -> list[bytes | None]:
        if self._address.kind != "cluster":
            values = await self._bounded(lambda client: client.mget(names))
            return self._checked(values, len(names))
        # Keys of one command must share a slot, which those of a cluster rarely do.
        replies = await self._pipelined([("MGET", name) for name in names])
        return [value for reply in replies for value in self._checked(reply, 1)]

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

    def _checked(self, values: Any, count: int) -> list[bytes | None]:
        """Check a reply to MGET: the other side need not be a Redis."""
        if type(values) is not list or len(values) != count:
            raise self._failed(_STRANGE)
        if not all(value is None or type(value) is bytes for value in values):
            raise self._failed(_STRANGE)
        return values

    async def _bounded(self, run: Callable[[Any], Awaitable[_T]]) -> _T:
        try:
            async with asyncio.timeout(self._timeout_seconds), self._free:
                if self._opened is None:
                    self._opened = open_client(self._address, self._options)
                return await run(self._opened.client)
        except Exception as error:  # whatever it is, there is no value
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> TierFailed:
        address = self._address
        fault, reason = explained(error, address)
        password = self._options.password or address.password
        for secret in (password, address.sentinel_password):
            if secret:
                reason = reason.replace(secret, "***")
        reason = masked(reason)[:_LONGEST_REASON]
        return TierFailed(f"{_place(address)}: {reason}", fault)


def _usage(info: Mapping[str, Any], database: int) -> list[int]:
    """Return the fields of a TierUsage from a reply to INFO.

    What it does not have, or not as a number, is 0.
    """
    keys = info.get(f"db{database}")
    found = {**info, "keys": keys.get("keys") if isinstance(keys, dict) else 0}
    names = ("maxmemory", "used_memory", "keys", "evicted_keys")
    numbers = [found.get(name) for name in names]
    return [n if type(n) is int else 0 for n in numbers]


def _unsigned(_: bytes, value: bytes) -> bytes:
    return value


def _place(address: Address) -> str:
    hosts = ",".join(f"{host}:{port}" for host, port in address.hosts)
    master = f"{address.master} of " if address.master else ""
    return f"{master}{hosts or address.path}"
