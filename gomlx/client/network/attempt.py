"""One attempt of a call: one request to one host, which shows how that host does."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, TypeVar

from gomlx.client.metrics import ClientMetrics
from gomlx.client.network.hosts import Host, Hosts, Latencies
from gomlx.client.network.refusals import accepted
from gomlx.client.network.transport import Request, Response, Transport
from gomlx.client.request_id import id_headers
from gomlx.errors import (
    BadResponse,
    ConnectionFailed,
    DeadlineExceeded,
    GomlxError,
    ModelNotFound,
    NotReady,
    Overloaded,
)
from gomlx.tracing.current import trace_headers

log = logging.getLogger("gomlx.client")

T = TypeVar("T")
BUSY = (Overloaded, NotReady)  # the host works, but wants no requests for a while
RETRIED = (*BUSY, ConnectionFailed, BadResponse, DeadlineExceeded)  # elsewhere, too
_LONGEST_TIMEOUT = 86400.0  # seconds: a header cannot hold infinity


@dataclass
class ClientCall(Generic[T]):
    """A request for any host to answer.

    request.url is a path. read makes the result of a response; it raises BadResponse
    for one that is not an answer. deadline: on the loop's clock. tried: the hosts that
    have been tried since all of them were.
    """

    request: Request
    read: Callable[[Response], T]
    deadline: float
    tried: list[Host] = field(default_factory=list)

    @property
    def remaining(self) -> float:
        """The seconds until the deadline; negative after it."""
        return self.deadline - asyncio.get_running_loop().time()


class Attempts:
    """Makes attempts, and counts them. For one event loop."""

    def __init__(
        self, hosts: Hosts, transport: Transport, metrics: ClientMetrics
    ) -> None:
        self._hosts = hosts
        self._transport = transport
        self._metrics = metrics
        self.latencies = Latencies()

    async def run(self, call: ClientCall[T], host: Host) -> T:
        """Return what call.read makes of a host's response.

        host: one of call.tried. Raises what it refused with, ConnectionFailed,
        BadResponse or DeadlineExceeded.
        """
        started = perf_counter()
        host.outstanding += 1
        try:
            result = await self._result(call, host)
        except GomlxError as error:
            self._note_failure(host, error)
            raise
        except BaseException:  # cancelled, or a bug of a user's transport
            host.abandoned()
            raise
        finally:
            host.outstanding -= 1
        host.succeeded()
        self._metrics.requests["answered"] += 1
        self.latencies.add(perf_counter() - started)
        return result

    def _note_failure(self, host: Host, error: GomlxError) -> None:
        if isinstance(error, BUSY):
            host.busy(str(error), error.retry_after or 0)
        elif isinstance(error, RETRIED):
            self._metrics.requests["failed"] += 1
            log.info("%s", error)
            host.failed(str(error))
        else:  # a refusal: the host works
            host.succeeded()

    async def _result(self, call: ClientCall[T], host: Host) -> T:
        """Return the result; errors that are the host's name it."""
        remaining = call.remaining
        # A host that does not respond must not use up the time that another one needs.
        seconds = remaining / 2 if self._hosts.has_untried(call.tried) else remaining
        try:
            response = await self._response(call.request, host, seconds)
            return call.read(accepted(response))
        except (*RETRIED, ModelNotFound) as error:
            text = f"{host.name}: {error}"
            raise type(error).from_message(text, error.retry_after) from None

    async def _response(self, request: Request, host: Host, seconds: float) -> Response:
        milliseconds = int(min(seconds, _LONGEST_TIMEOUT) * 1000)
        timeout = {"Request-Timeout-Ms": str(max(milliseconds, 1))}
        headers = {**request.headers, **timeout, **trace_headers(), **id_headers()}
        whole = Request(f"{host.url}{request.url}", headers, request.body)
        try:
            async with asyncio.timeout(seconds):
                return await self._transport.send(whole)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer in {seconds:.3g} s") from None
