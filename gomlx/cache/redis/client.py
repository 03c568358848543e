"""redis-py's client for an address: of one server, a Sentinel's master or a cluster."""

import ssl
from typing import Any, NamedTuple

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

from gomlx.cache.redis.address import Address
from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.parser import BoundedParser

_Keywords = dict[str, Any]


class Opened(NamedTuple):
    """A client, and the Sentinels of its master: both are to be closed."""

    client: Redis | RedisCluster
    sentinel: Sentinel | None = None


def open_client(address: Address, options: RedisOptions) -> Opened:
    """Return a client, which connects when it is first used."""
    keywords = _common(address, options)
    if address.kind == "unix":
        keywords |= {"path": address.path, "db": address.database}
        return _server(UnixDomainSocketConnection, keywords, options)
    keywords["socket_keepalive"] = True
    if address.kind == "server":
        ((host, port),) = address.hosts
        keywords |= {"host": host, "port": port, "db": address.database}
        if address.tls:
            return _server(SSLConnection, keywords | _tls(options), options)
        return _server(Connection, keywords, options)
    if address.tls:
        keywords |= {"ssl": True, **_tls(options)}
    keywords["max_connections"] = options.max_connections
    if address.kind == "cluster":
        return _cluster(address, keywords)
    return _master(address, keywords)


def _common(address: Address, options: RedisOptions) -> _Keywords:
    has_many_hosts = address.kind in ("sentinel", "cluster")
    return {
        "username": options.username or address.username,
        "password": options.password or address.password,
        "client_name": "gomlx",
        "driver_info": None,  # one command less on connecting
        "parser_class": BoundedParser,
        "protocol": 2,  # RESP3 is for pushed messages, and needs HELLO
        "socket_connect_timeout": options.timeout_seconds,
        # One of many hosts that hangs must not keep the others from being tried.
        # PERF: else none: a timer a reply makes a look-up cost twice as much, and
        # RedisTier bounds the whole operation (loadtests/tiers.py).
        "socket_timeout": options.timeout_seconds if has_many_hosts else None,
        # Not for time-outs: what has not answered once may not take twice as long.
        "retry": Retry(NoBackoff(), 1, (exceptions.ConnectionError,)),
    }


def _tls(options: RedisOptions) -> _Keywords:
    return {
        "ssl_ca_certs": options.ca_file,
        "ssl_certfile": options.cert_file,
        "ssl_keyfile": options.key_file,
        "ssl_min_version": ssl.TLSVersion.TLSv1_2,
    }


def _server(kind: type[Any], keywords: _Keywords, options: RedisOptions) -> Opened:
    pool = ConnectionPool(kind, options.max_connections, **keywords)
    return Opened(Redis.from_pool(pool))


def _master(address: Address, keywords: _Keywords) -> Opened:
    """Return a client of the master that Sentinels name."""
    of_sentinels = keywords | {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "client_name": None,
    }
    del of_sentinels["parser_class"]  # no argument of a Sentinel's client
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts, sentinel_kwargs=of_sentinels, **keywords
    )
    for one in sentinel.sentinels:
        one.connection_pool.connection_kwargs["parser_class"] = BoundedParser
    master: Redis = sentinel.master_for(address.master, db=address.database)
    return Opened(master, sentinel)


def _cluster(address: Address, keywords: _Keywords) -> Opened:
    parser = {"parser_class": keywords.pop("parser_class")}  # no argument of a cluster
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    client = RedisCluster(startup_nodes=nodes, **keywords)
    client.connection_kwargs |= parser
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_kwargs |= parser
    return Opened(client)
