"""What both clients are made of: a core, and how its connections are opened."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from gomlx.cache.tier import SharedTier
from gomlx.client.core import Core
from gomlx.client.extras import missing_extra
from gomlx.client.forks import call_in_children
from gomlx.client.metrics import Collector
from gomlx.client.network.shared_reader import SharedReader
from gomlx.client.network.transport import Transport
from gomlx.client.options import Options
from gomlx.client.transports.authorized import authorized
from gomlx.contract.document import Contract
from gomlx.runtime.masking import masked


class ClientBase:
    """A client of one model, which some hosts serve.

    signature: one of its others, instead of the model's own.
    """

    def __init__(  # noqa: PLR0913  # all but two are named
        self,
        model: str,
        hosts: Sequence[str] | str,
        *,
        contract: Contract | None = None,
        redis: str | SharedTier | None = None,
        transport: Transport | None = None,
        options: Options | None = None,
        signature: str | None = None,
    ) -> None:
        self.options = options or Options()
        urls = [hosts] if isinstance(hosts, str) else hosts
        model = f"{model}:{signature}" if signature else model
        self._core = Core(model, urls, contract, self.options)
        self._given_contract = contract
        self._redis = redis
        self._transport = transport
        self._set_up()
        call_in_children(self._after_fork)

    def _set_up(self) -> None:
        """Do what only one of the two clients needs."""

    def __repr__(self) -> str:
        model, hosts = self._core.address
        urls = ", ".join(map(masked, hosts))
        version = f", version {self.version}" if self.version else ""
        return f"<{type(self).__name__} of {model!r} at {urls}{version}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle make a new client of the same hosts, which knows nothing yet."""
        keywords: dict[str, Any] = {
            "contract": self._given_contract,
            "redis": self._redis,
            "transport": self._transport,
            "options": self.options,
        }
        return partial(type(self), **keywords), tuple(self._core.address)

    @property
    def version(self) -> str:
        """The version that answers are looked up for; empty before the first call."""
        current = self._core.models.current
        return current.version if current else ""

    @property
    def contract(self) -> Contract | None:
        """The model's inputs, outputs and limits; None before the first call."""
        current = self._core.models.current
        return current.contract if current else None

    def metrics(self) -> dict[str, Any]:
        """Return counts and sums of seconds, by outcome and tier; the cache's size."""
        current = self._core.models.current
        entries, size_bytes = current.kept_size() if current else (0, 0)
        counts = self._core.metrics.as_dict()
        return {**counts, "entries": entries, "bytes": size_bytes}

    def collector(self, *others: "ClientBase") -> Collector:
        """Return what `prometheus_client.REGISTRY.register` takes.

        A registry takes one collector, for all clients. Their models need different
        names.
        """
        cores = [client._core for client in (self, *others)]
        return Collector([(core.address.model, core.metrics) for core in cores])

    async def _open(self) -> None:
        try:
            # The first one imports a library, and reads certificates.
            transport = await asyncio.to_thread(self._make_transport)
            sending = authorized(transport, self.options)
            await self._core.start(sending, self._make_shared())
        except BaseException:
            await self._core.close()
            raise

    def _make_transport(self) -> Transport:
        if self._transport is not None:
            return self._transport
        if self.options.http2:
            return _http2_transport(self.options)
        from gomlx.client.transports.http import HttpTransport

        return HttpTransport(self.options)

    def _make_shared(self) -> SharedReader | None:
        tier = self._redis
        if isinstance(tier, str):
            try:
                from gomlx.cache.redis.options import RedisOptions
                from gomlx.cache.redis.tier import RedisTier
            except ModuleNotFoundError as error:
                raise missing_extra("a client with redis", "redis", error) from None
            tier = RedisTier(
                RedisOptions(tier, sign_key_file=self.options.sign_key_file)
            )
        if tier is None:
            return None
        return SharedReader(tier, self.options.redis_seconds)

    def _after_fork(self) -> None:
        self._core.park()


def _http2_transport(options: Options) -> Transport:
    """Return one over ngh2, or over httpcore where that cannot be imported."""
    try:
        from gomlx.client.transports.http2 import Http2Transport
    except ImportError:
        try:
            from gomlx.client.transports.http2_httpcore import HttpcoreTransport
        except ModuleNotFoundError as error:
            raise missing_extra("http2=True", "http2", error) from None
        return HttpcoreTransport(options)
    return Http2Transport(options)
