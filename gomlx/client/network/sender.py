"""One request, to whichever host answers it: retries, hedging, deadlines.

A prediction changes nothing, so it may always be asked again.
"""

import asyncio
import logging
from collections.abc import Callable
from random import Random
from time import perf_counter
from typing import TypeVar

import orjson

from gomlx.client.metrics import ClientMetrics
from gomlx.client.network.hosts import Host, Hosts, Latencies, RetryBudget
from gomlx.client.network.transport import Request, Response, Transport
from gomlx.errors import (
    BadResponse,
    ConnectionFailed,
    DeadlineExceeded,
    GomlxError,
    InvalidInput,
    ModelNotFound,
    NoHost,
    NotReady,
    Overloaded,
    RunFailed,
    TooLarge,
)

_RANDOM = Random()  # whoever seeds the program's own must not have us agree

log = logging.getLogger("gomlx.client")

T = TypeVar("T")
_REFUSALS: dict[int, type[GomlxError]] = {
    error.status: error
    for error in (
        InvalidInput,
        ModelNotFound,
        TooLarge,
        Overloaded,
        RunFailed,
        NotReady,
    )
}
# Another host may do better; of the first two, the host is well and asks for patience.
_PATIENCE = (Overloaded, NotReady)
_RETRIED = (*_PATIENCE, ConnectionFailed, BadResponse, DeadlineExceeded)
_FIRST_PAUSE, _LAST_PAUSE = 0.02, 1.0  # seconds, before the same hosts are asked again
_LONGEST_TEXT = 500
_NO_LIMIT = 86400.0  # seconds: infinity cannot be told to a host
_NO_SLOT = "context deadline exceeded"  # mly: the row waited for too long to be run


class Sender:
    """Sends to the hosts of one client. For one thread: the event loop's."""

    def __init__(
        self, hosts: Hosts, transport: Transport, metrics: ClientMetrics, hedges: bool
    ) -> None:
        self._hosts, self._transport = hosts, transport
        self._metrics, self._hedges = metrics, hedges
        self._budget, self._latencies = RetryBudget(), Latencies()

    async def send(
        self, request: Request, read: Callable[[Response], T], deadline: float
    ) -> T:
        """Return what read makes of the response of some host.

        request.url is a path. read raises BadResponse for what is none. deadline: as
        the loop's clock has it. Raises what the service refused with, NoHost,
        BadResponse or DeadlineExceeded.
        """
        self._budget.call()
        loop = asyncio.get_running_loop()
        tried: list[Host] = []
        pause, error = _FIRST_PAUSE, None
        while (left := deadline - loop.time()) > 0:
            host = self._hosts.pick(tried)
            if host is None:
                rest = self._hosts.rest()
                if rest is None or rest >= left:
                    raise error or self._no_host()
                await asyncio.sleep(rest)
                continue
            try:
                return await self._round(host, tried, request, read, deadline)
            except _RETRIED as failure:
                error = failure
            if not self._is_patient(error, tried) and not self._budget.take():
                raise error
            self._metrics.requests["retried"] += 1
            if not self._hosts.others(tried):
                tried.clear()
                left = deadline - loop.time()
                await asyncio.sleep(min(pause * _RANDOM.uniform(0.5, 1), left))
                pause = min(pause * 2, _LAST_PAUSE)
        raise _too_late(error)

    def _is_patient(self, error: GomlxError, tried: list[Host]) -> bool:
        """True when the only way is to wait for as long as a host has asked for.

        That adds no load. A batch is a call, and is shed again and again: the budget
        would not last.
        """
        asked = isinstance(error, _PATIENCE) and error.retry_after
        return bool(asked) and not self._hosts.others(tried)

    async def _round(
        self,
        host: Host,
        tried: list[Host],
        request: Request,
        read: Callable[[Response], T],
        deadline: float,
    ) -> T:
        """Ask a host; when it takes long, and that is wanted, a second one too."""
        tried.append(host)
        first = self._attempt(host, tried, request, read, deadline)
        p95 = self._latencies.p95
        if not self._hedges or p95 is None:
            return await first
        tasks = {asyncio.ensure_future(first)}
        try:
            await asyncio.wait(tasks, timeout=p95)
            if not all(task.done() for task in tasks) and self._hosts.others(tried):
                second = self._hosts.pick(tried)
                if second is not None and self._budget.take():
                    self._metrics.requests["hedged"] += 1
                    tried.append(second)
                    again = self._attempt(second, tried, request, read, deadline)
                    tasks.add(asyncio.ensure_future(again))
            return await _first_good(tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _attempt(
        self,
        host: Host,
        tried: list[Host],
        request: Request,
        read: Callable[[Response], T],
        deadline: float,
    ) -> T:
        left = deadline - asyncio.get_running_loop().time()
        # A host that is silent may not take the time that another one needs.
        seconds = left / 2 if self._hosts.others(tried) else left
        started = perf_counter()
        host.outstanding += 1
        try:
            answer = await self._answer(host, request, read, seconds)
        except asyncio.CancelledError:
            host.left()
            raise
        except _PATIENCE as error:
            host.succeeded()
            host.problem = str(error)
            now = asyncio.get_running_loop().time()
            host.rests_until = now + (error.retry_after or 0)
            raise
        except _RETRIED as error:
            self._metrics.requests["failed"] += 1
            log.info("%s", error)
            host.failed(str(error))
            raise
        except GomlxError:  # a refusal: the host is well
            host.succeeded()
            raise
        finally:
            host.outstanding -= 1
        host.succeeded()
        self._metrics.requests["answered"] += 1
        self._latencies.add(perf_counter() - started)
        return answer

    async def _answer(
        self,
        host: Host,
        request: Request,
        read: Callable[[Response], T],
        seconds: float,
    ) -> T:
        """Return what read makes of a host's response; errors of hosts name them."""
        try:
            return read(_accepted(await self._sent(host, request, seconds)))
        except (*_RETRIED, ModelNotFound) as error:
            text = f"{host.name}: {error}"
            raise type(error).told(text, error.retry_after) from None

    async def _sent(self, host: Host, request: Request, seconds: float) -> Response:
        milliseconds = int(min(seconds, _NO_LIMIT) * 1000)
        timeout = {"Request-Timeout-Ms": str(max(milliseconds, 1))}
        headers = {**request.headers, **timeout}
        whole = Request(f"{host.url}{request.url}", headers, request.body)
        try:
            async with asyncio.timeout(seconds):
                return await self._transport.send(whole)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer in {seconds:.3g} s") from None

    def _no_host(self) -> NoHost:
        problems = "; ".join(h.problem or f"{h.name}: resting" for h in self._hosts.all)
        return NoHost(f"no host takes requests now: {problems[:_LONGEST_TEXT]}")


async def _first_good(tasks: set["asyncio.Task[T]"]) -> T:
    """Return the first result; if there is none, raise the last error."""
    pending = tasks
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        good = [task for task in done if task.exception() is None]
        if good or not pending:
            return (good or list(done))[0].result()


def _accepted(response: Response) -> Response:
    """Return a response that is none of an error. Raises what the service told."""
    status = response.status
    if status in (200, 304):
        return response
    message = _message(response)
    if status == BadResponse.status or status not in _REFUSALS:
        if status in (408, 504):
            raise DeadlineExceeded(message)
        raise BadResponse(f"status {status}: {message}")
    if status == RunFailed.status and message == _NO_SLOT:
        raise Overloaded.told(message)
    raise _REFUSALS[status].told(message, _seconds(response.headers.get("retry-after")))


def _message(response: Response) -> str:
    """Return what an error says: ours are JSON, those of others text."""
    try:
        text = str(orjson.loads(response.body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = response.body[:_LONGEST_TEXT].decode("utf-8", "replace").strip()
        if response.status == InvalidInput.status:  # mly goes on behind the reason
            text = text.partition("\n")[0]
    return text or f"status {response.status} without a text"


def _seconds(retry_after: str | None) -> int | None:
    return int(retry_after) if retry_after and retry_after.isdecimal() else None


def _too_late(error: GomlxError | None) -> GomlxError:
    if error is None or isinstance(error, DeadlineExceeded):
        return error or DeadlineExceeded("no time was left")
    return DeadlineExceeded(f"no answer in time; the last failure: {error}")
