"""Tries the connections of a config; advises what to do about those that fail."""

import asyncio
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass

from gomlx.cache.redis.address import AddressKind, parse
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.tier import Remote
from gomlx.config.schema import Config, Connection
from gomlx.errors import ConfigInvalid, TierFailed

_PROBE_MILLISECONDS = 10_000

_ADVICE = {
    "refused": "nothing listens there: start the server, or correct host and port",
    "timeout": "check the address, firewalls, and whether the port speaks TLS"
    " (rediss://) or not (redis://); raise timeout_seconds if the server is far",
    "name": "no such host: correct the name, or fix the DNS",
    "unreachable": "correct the Sentinels' hosts and ports (26379 by default), or"
    " start them",
    "no-socket": "no such socket: correct the path, or set `unixsocket` in the server",
    "no-access": "this user may not open the socket: see `unixsocketperm`",
    "certificate": "the server's certificate is not trusted: set ca_file to the"
    " authority that signed it, and use a host name that the certificate holds",
    "client-certificate": "the server seems to require a client certificate: set"
    " cert_file and key_file",
    "plain": "the port does not speak TLS: use redis:// or the TLS port",
    "tls": "the port does not speak Redis, or only over TLS: use rediss://",
    "closed": "the port may want TLS (use rediss://), or the server refused it:"
    " see `protected-mode` and `maxclients`",
    "protected": "the server refuses other hosts without a password: set one",
    "password-needed": "no password is given: set password or password_file",
    "password-unasked": "the server has no password: remove it here, or set"
    " `requirepass` or an ACL there",
    "password": "username or password is wrong",
    "sentinel-password": "the Sentinel has a login of its own: give it in the url,"
    " ?sentinel_username=…&sentinel_password=…",
    "permission": "the user lacks a permission: deploy/redis/users.acl has a user with"
    " those that are needed",
    "read-only": "this is a replica: name the master or a Sentinel, or set read_only"
    " in the tiers that use it",
    "memory": "the server is full and evicts nothing: set `maxmemory-policy"
    " allkeys-lru`",
    "database": "no such database: the number at the end of the url is too high",
    "sentinel": "use redis+sentinel://host:26379/MASTER/0",
    "no-sentinel": "this is not a Sentinel: name the Sentinels' port (26379 by"
    " default), or use redis://",
    "no-master": "correct the name of the master in the url (`sentinel monitor NAME`),"
    " or wait for the end of a failover",
    "no-cluster": "this server is not part of a cluster: use redis://",
    "cluster": "this server is a node of a cluster: use redis+cluster://",
    "password-file": "correct password_file",
}


@dataclass(frozen=True)
class ConnectionResult:
    """The result of trying a connection; problem is empty if it can be used.

    milliseconds is the time of a ping once connected, server the server's version and
    role if it reports them. lookup_us is the CPU of a look-up of one row.
    """

    id: str
    milliseconds: float | None = None
    server: str = ""
    problem: str = ""
    advice: str = ""
    lookup_us: float | None = None

    def __str__(self) -> str:
        if not self.problem:
            server = f" {self.server}," if self.server else ""
            cpu = f", {self.lookup_us:g} us CPU a look-up" if self.lookup_us else ""
            return f"connection {self.id}: ok,{server} {self.milliseconds} ms{cpu}"
        advice = f"\n  {self.advice}" if self.advice else ""
        return f"connection {self.id}: {self.problem}{advice}"


def try_connections(config: Config) -> list[ConnectionResult]:
    """Try every connection of a config, one at a time, to measure each alone."""

    async def run() -> list[ConnectionResult]:
        return [await _try(one, _is_written(config, one)) for one in config.connections]

    return asyncio.run(run())


def _is_written(config: Config, connection: Connection) -> bool:
    tiers = [tier for store in config.datastores for tier in store.tiers]
    used = [tier for tier in tiers if tier.connection == connection.id]
    return any(not tier.read_only for tier in used)


async def _try(connection: Connection, is_written: bool) -> ConnectionResult:
    try:
        tier = RedisTier.from_config(connection)
    except ConfigInvalid as error:
        advice = "" if connection.sign_key_file else _ADVICE["password-file"]
        return ConnectionResult(connection.id, problem=str(error), advice=advice)
    try:
        return await _probe(tier, connection, is_written)
    except TierFailed as error:
        advice = _ADVICE.get(error.fault, "")
        return ConnectionResult(connection.id, problem=str(error), advice=advice)
    finally:
        with suppress(TierFailed):
            await tier.close()


async def _probe(
    tier: RedisTier, connection: Connection, is_written: bool
) -> ConnectionResult:
    await tier.ping()  # connects
    started = time.perf_counter()
    await tier.ping()
    milliseconds = (time.perf_counter() - started) * 1000
    server = await _describe(tier, parse(connection.url).kind)
    key = f"gomlx:1:check:{secrets.token_hex(8)}".encode()
    value = secrets.token_bytes(8)
    await tier.get_many([key])
    await tier.remaining_ttl([key])
    if is_written:
        await tier.set_many({key: (value, _PROBE_MILLISECONDS)})
        found = await tier.get_many([key])
        await tier.delete([key])
        if found != [value]:
            raise TierFailed("a value that was written is not found")
    lookup_us = await _lookup_us(tier, connection)
    return ConnectionResult(
        connection.id, round(milliseconds, 2), server, lookup_us=lookup_us
    )


async def _lookup_us(tier: RedisTier, connection: Connection) -> float | None:
    """Return what a look-up of one row takes of the CPU, as a worker measures it."""
    seconds = connection.timeout_seconds
    limits = TierLimits(seconds, seconds, 1 << 20, 1 << 20, is_read_only=True)
    remote = Remote(connection.id, tier, limits, RemoteCounts.unshown())
    if not await remote.measure():
        return None
    return round(remote.worth.lookup_seconds * 1e6, 1)


async def _describe(tier: RedisTier, kind: AddressKind) -> str:
    """Return the server's version and role; raise if it is of another kind."""
    try:
        info = await tier.info()
    except TierFailed as error:
        if error.fault == "permission":  # INFO is not needed
            return ""
        raise
    if info.get("redis_mode") == "sentinel":
        raise TierFailed("the server is a Sentinel", "sentinel")
    if info.get("cluster_enabled") and kind != "cluster":
        raise TierFailed("the server is in cluster mode", "cluster")
    role = "cluster" if kind == "cluster" else info.get("role", "")
    return f"Redis {info.get('redis_version', '')} {role}".strip()
