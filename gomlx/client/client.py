"""Client and AsyncClient: two ways to call the same core.

The core does its I/O on an event loop. AsyncClient uses the caller's; Client has one in
a thread of its own, so it can be called from anywhere, a running loop included. What is
known locally is answered in the calling thread, in both, without the loop.
"""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self

from gomlx.cache.tier import SharedTier
from gomlx.client.answer import Answer
from gomlx.client.columns import Asked, batch, one_row
from gomlx.client.core import Core
from gomlx.client.edition import Edition
from gomlx.client.loop_thread import LoopThread
from gomlx.client.metrics import Collector
from gomlx.client.options import Options
from gomlx.client.shared import Shared
from gomlx.client.transport import Transport
from gomlx.contract.document import Contract

# A URL says all; a client reads a few rows at a time.
_ALONE: dict[str, Any] = {
    **dict.fromkeys(("username", "password", "ca_file", "cert_file", "key_file")),
    "timeout_seconds": 1.0,
    "max_connections": 8,
}


class _Base:
    """What both clients are made of."""

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
        names = [hosts] if isinstance(hosts, str) else list(hosts)
        if not names:
            raise ValueError("a client needs at least one host")
        self._core = Core(model, names, contract, self.options)
        self._model, self._redis, self._transport = model, redis, transport
        self._made()

    def _made(self) -> None:
        """Do what only one of the two needs."""

    @property
    def version(self) -> str:
        """The version that answers are looked up for; empty before the first call."""
        edition = self._core.edition
        return edition.version if edition else ""

    @property
    def contract(self) -> Contract | None:
        """The model's inputs, outputs and limits; None before the first call."""
        edition = self._core.edition
        return edition.contract if edition else None

    def metrics(self) -> dict[str, Any]:
        """Return counts and sums of seconds, by outcome and tier; the cache's size."""
        edition = self._core.edition
        entries, size = edition.size() if edition else (0, 0)
        return {**self._core.metrics.as_dict(), "entries": entries, "bytes": size}

    def collector(self) -> Collector:
        """Return what `prometheus_client.REGISTRY.register` takes."""
        return Collector(self._model, self._core.metrics)

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
            from gomlx.client.http2 import Http2Transport

            return Http2Transport(self.options)
        from gomlx.client.http import HttpTransport

        return HttpTransport(self.options)

    def _shared(self) -> Shared | None:
        tier = self._redis
        if isinstance(tier, str):
            from gomlx.cache.redis import RedisTier

            tier = RedisTier(tier, **_ALONE)
        return Shared(tier, self.options.redis_seconds) if tier is not None else None


class Client(_Base):
    """Asks the hosts of a service for one model's predictions, and keeps the answers.

    For any number of threads. hosts are URLs; redis is the URL of the service's shared
    tier, if it has one that may be read from here. contract spares the first request.
    After a fork the child opens its own connections; a redis or transport that is not
    given as a URL must bear that.
    """

    _thread: LoopThread | None = None  # once it has connected
    _opening: tuple[LoopThread, Future[None]] | None = None
    _parked: Edition | None = None

    def _made(self) -> None:
        self._starting = threading.Lock()  # of _opening; never held while waiting
        _clients.add(self)

    def predict(
        self,
        row: Mapping[str, Any] | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        **inputs: Any,
    ) -> Answer:
        """Return the answer of one row, given by keywords or as a mapping.

        Raises InvalidInput, ModelNotFound, TooLarge, Overloaded, RunFailed and NotReady
        as the service does; NoHost, BadResponse or DeadlineExceeded when none of the
        hosts gave an answer.
        """
        if row is None:
            row = inputs
        answer = self._core.find(row)
        if answer is not None:
            return answer
        return self._wait(one_row(row), timeout_seconds)[0]

    def predict_batch(
        self, columns: Any, /, *, timeout_seconds: float | None = None
    ) -> list[Answer]:
        """Return the answers of many rows, in order.

        columns maps inputs to lists or arrays of one length, or to single values,
        which stand for every row; it may be a frame (pandas, polars, Arrow) or a list
        of rows.
        Raises what `predict` does; then there are no answers.
        """
        asked = batch(columns)
        answers = self._core.find_many(asked)
        return answers or self._wait(asked, timeout_seconds)

    def start(self) -> Self:
        """Connect and learn the model now instead of by the first call."""
        self._started()
        return self

    def close(self) -> None:
        """Let go of connections. The client may be used again, and begins anew."""
        with self._starting:
            opening, self._opening, self._thread = self._opening, None, None
        if opening:
            thread, _ = opening
            thread.run(self._core.close())
            thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, asked: Asked, seconds: float | None) -> list[Answer]:
        thread = self._thread or self._started()
        return thread.run(self._core.answers(asked, seconds))

    def _started(self) -> LoopThread:
        """Return the thread, once it has connected; whoever comes first starts it."""
        with self._starting:
            if self._opening is None:
                self._core.edition = self._core.edition or self._parked
                new = LoopThread()
                self._opening = new, new.submit(self._open())
            thread, opened = opening = self._opening
        try:
            opened.result()
        except BaseException:
            with self._starting:
                is_ours = self._opening is opening
                self._opening = None if is_ours else self._opening
            if is_ours:
                thread.stop()
            raise
        self._thread = thread
        return thread

    def _forked(self) -> None:
        """Forget, in a child, what belongs to the parent; keep what is known.

        Without an edition nothing is found locally, so the first call starts a thread,
        which looks for new versions as well.
        """
        self._thread, self._opening, self._starting = None, None, threading.Lock()
        core = self._core
        core.connection = None
        self._parked, core.edition = core.edition or self._parked, None


class AsyncClient(_Base):
    """What Client is, for the event loop that it is first used on."""

    _opening: "asyncio.Task[None] | None" = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def predict(
        self,
        row: Mapping[str, Any] | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        **inputs: Any,
    ) -> Answer:
        """Return the answer of one row; see Client.predict."""
        if row is None:
            row = inputs
        answer = self._core.find(row)
        if answer is not None:
            return answer
        await self.start()
        return (await self._core.answers(one_row(row), timeout_seconds))[0]

    async def predict_batch(
        self, columns: Any, /, *, timeout_seconds: float | None = None
    ) -> list[Answer]:
        """Return the answers of many rows, in order; see Client.predict_batch."""
        asked = batch(columns)
        answers = self._core.find_many(asked)
        if answers:
            return answers
        await self.start()
        return await self._core.answers(asked, timeout_seconds)

    async def start(self) -> Self:
        """Connect and learn the model now instead of by the first call."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None:
            raise RuntimeError("an AsyncClient belongs to the loop it was started on")
        if self._opening is None or (self._opening.done() and not self._is_open):
            self._loop, self._opening = loop, loop.create_task(self._open())
        if not self._opening.done():
            await asyncio.shield(self._opening)
        return self

    async def close(self) -> None:
        """Let go of connections. The client may be used again, and begins anew."""
        if self._opening:
            self._opening.cancel()
        self._opening = self._loop = None
        await self._core.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def _is_open(self) -> bool:
        return self._core.connection is not None


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _forked() -> None:
    for client in list(_clients):
        client._forked()


@atexit.register
def _close() -> None:
    for client in list(_clients):
        client.close()


os.register_at_fork(after_in_child=_forked)
