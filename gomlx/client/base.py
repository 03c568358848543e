"""What both clients are made of: a core, and how its connections are opened."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from gomlx.cache.tier import SharedTier
from gomlx.client import forks
from gomlx.client.core import Core
from gomlx.client.extras import needs
from gomlx.client.metrics import Collector
from gomlx.client.network.shared import Shared
from gomlx.client.network.transport import Transport
from gomlx.client.options import Options
from gomlx.config.masking import masked
from gomlx.contract.document import Contract

# A URL says all; a client reads a few rows at a time.
_ALONE: dict[str, Any] = {
    **dict.fromkeys(("username", "password", "ca_file", "cert_file", "key_file")),
    "timeout_seconds": 1.0,
    "max_connections": 8,
}


class Base:
    """One model, asked of some hosts."""

    def __init__(
        self,
        model: str,
        hosts: Sequence[str] | str,
        *,
        contract: Contract | None = None,
        redis: str | SharedTier | None = None,
        transport: Transport | None = None,
        options: Options | None = None,
    ) -> None:
        self.options = options or Options()
        names = [hosts] if isinstance(hosts, str) else hosts
        self._core = Core(model, names, contract, self.options)
        self._model, self._redis, self._transport = model, redis, transport
        self._given = contract
        self._made()
        forks.remember(self)

    def _made(self) -> None:
        """Do what only one of the two needs."""

    def __repr__(self) -> str:
        hosts = ", ".join(map(masked, self._core.hosts))
        version = f", version {self.version}" if self.version else ""
        return f"<{type(self).__name__} of {self._model!r} at {hosts}{version}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle make a new client of the same hosts, that knows nothing yet."""
        named: dict[str, Any] = {"contract": self._given, "redis": self._redis}
        named |= {"transport": self._transport, "options": self.options}
        return partial(type(self), **named), (self._model, self._core.hosts)

    @property
    def version(self) -> str:
        """The version that answers are looked up for; empty before the first call."""
        client_model = self._core.client_model
        return client_model.version if client_model else ""

    @property
    def contract(self) -> Contract | None:
        """The model's inputs, outputs and limits; None before the first call."""
        client_model = self._core.client_model
        return client_model.contract if client_model else None

    def metrics(self) -> dict[str, Any]:
        """Return counts and sums of seconds, by outcome and tier; the cache's size."""
        client_model = self._core.client_model
        entries, size = client_model.size() if client_model else (0, 0)
        return {**self._core.metrics.as_dict(), "entries": entries, "bytes": size}

    def collector(self, *others: "Base") -> Collector:
        """Return what `prometheus_client.REGISTRY.register` takes.

        A registry takes one of these: of all clients, by models of different names.
        """
        clients = (self, *others)
        return Collector([(one._model, one._core.metrics) for one in clients])

    async def _open(self) -> None:
        try:
            # The first one imports a library, and reads certificates.
            transport = await asyncio.to_thread(self._opened)
            await self._core.start(transport, self._shared())
        except BaseException:
            await self._core.close()
            raise

    def _opened(self) -> Transport:
        if self._transport is not None:
            return self._transport
        if self.options.http2:
            try:
                from gomlx.client.network.http2 import Http2Transport
            except ModuleNotFoundError as error:
                raise needs("http2=True", "http2", error) from None
            return Http2Transport(self.options)
        from gomlx.client.network.http import HttpTransport

        return HttpTransport(self.options)

    def _shared(self) -> Shared | None:
        tier = self._redis
        if isinstance(tier, str):
            try:
                from gomlx.cache.redis.tier import RedisTier
            except ModuleNotFoundError as error:
                raise needs("a client with redis", "redis", error) from None
            tier = RedisTier(tier, **_ALONE)
        return Shared(tier, self.options.redis_seconds) if tier is not None else None

    def _forked(self) -> None:
        self._core.park()
