"""A request to whichever host answers it: retries, hedging, deadlines.

    send ─► pick a host ─► attempt ─► answered, or refused for good
                 ▲            │
                 │            └─ too slow for most? hedge: a second host as well
                 └─ pause ◄─ failed, busy or too late

A prediction changes nothing on the service, so it is always safe to retry.
"""

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

from gomlx.client.metrics import ClientMetrics
from gomlx.client.network.attempt import BUSY, RETRIED, Attempts, ClientCall
from gomlx.client.network.hosts import Host, Hosts, RetryBudget
from gomlx.client.network.transport import Request, Response, Transport
from gomlx.errors import DeadlineExceeded, GomlxError, NoHost
from gomlx.runtime.randomness import RANDOM

T = TypeVar("T")
_FIRST_PAUSE = 0.02  # seconds, before hosts that have all been tried are tried again
_LAST_PAUSE = 1.0
_LONGEST_TEXT = 500


class Sender:
    """Sends to the hosts of one client. For one event loop.

    hedges: whether to try a second host when the first is slower than 95 % of requests.
    budget limits the retries and hedges of all requests together.
    """

    def __init__(
        self,
        hosts: Hosts,
        transport: Transport,
        metrics: ClientMetrics,
        hedges: bool,
        random: Random = RANDOM,
    ) -> None:
        self._hosts = hosts
        self._metrics = metrics
        self._hedges = hedges
        self._random = random
        self._attempts = Attempts(hosts, transport, metrics)
        self.budget = RetryBudget()

    async def send(
        self, request: Request, read: Callable[[Response], T], deadline: float
    ) -> T:
        """Return what read makes of the response of some host.

        request.url is a path. read raises BadResponse for what is not an answer.
        deadline: on the loop's clock. Raises what the service refused with, NoHost,
        BadResponse or DeadlineExceeded.
        """
        self.budget.deposit()
        call = ClientCall(request, read, deadline)
        pauses = _pauses(self._random)
        error: GomlxError | None = None
        while (host := await self._next_host(call, error)) is not None:
            try:
                return await self._hedged(call, host)
            except RETRIED as failure:
                error = failure
            self._spend_retry(call, error)
            if not self._hosts.has_untried(call.tried):
                call.tried.clear()
                await asyncio.sleep(min(next(pauses), call.remaining))
        raise _too_late(error)

    async def _next_host(
        self, call: ClientCall[T], error: GomlxError | None
    ) -> Host | None:
        """Return a host that takes requests, once there is one; None if it is too late.

        Raises the last error, or NoHost, if no host takes requests before the deadline.
        """
        while (remaining := call.remaining) > 0:
            host = self._hosts.pick(call.tried)
            if host is not None:
                return host
            seconds = self._hosts.seconds_to_wait()
            if seconds is None or seconds >= remaining:
                raise error or self._no_host()
            await asyncio.sleep(seconds)
        return None

    def _spend_retry(self, call: ClientCall[T], error: GomlxError) -> None:
        """Count a retry. Raises the error again if there may be none.

        Waiting for as long as the only usable host has requested costs no budget: it
        adds no load, and a batch is one call that may be shed many times.
        """
        is_requested = isinstance(error, BUSY) and error.retry_after
        is_free = is_requested and not self._hosts.has_untried(call.tried)
        if not is_free and not self.budget.try_withdraw():
            raise error
        self._metrics.requests["retried"] += 1

    async def _hedged(self, call: ClientCall[T], host: Host) -> T:
        """Attempt a call at a host; if that is slow and hedges, at a second one too."""
        call.tried.append(host)
        first = self._attempts.run(call, host)
        p95 = self._attempts.latencies.p95
        if not self._hedges or p95 is None:
            return await first
        tasks = {asyncio.ensure_future(first)}
        try:
            done, _ = await asyncio.wait(tasks, timeout=p95)
            second = None if done else self._second_host(call)
            if second is not None:
                again = self._attempts.run(call, second)
                tasks.add(asyncio.ensure_future(again))
            return await _first_good(tasks)
        finally:
            for task in tasks:
                task.cancel()

    def _second_host(self, call: ClientCall[T]) -> Host | None:
        # The budget first: a host that was picked must be tried, or its breaker would
        # wait for the outcome for ever.
        if not self._hosts.has_untried(call.tried) or not self.budget.try_withdraw():
            return None
        host = self._hosts.pick(call.tried)
        if host is not None:
            self._metrics.requests["hedged"] += 1
            call.tried.append(host)
        return host

    def _no_host(self) -> NoHost:
        problems = "; ".join(h.problem or f"{h.name}: resting" for h in self._hosts.all)
        return NoHost(f"no host takes requests now: {problems[:_LONGEST_TEXT]}")


def _pauses(random: Random) -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1)
        pause = min(pause * 2, _LAST_PAUSE)


async def _first_good(tasks: set["asyncio.Task[T]"]) -> T:
    """Return the first result; if all fail, raise the last error."""
    pending = tasks
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        good = [task for task in done if task.exception() is None]
        if good or not pending:
            return (good or list(done))[0].result()


def _too_late(error: GomlxError | None) -> GomlxError:
    if error is None or isinstance(error, DeadlineExceeded):
        return error or DeadlineExceeded("no time remained")
    return DeadlineExceeded(f"no answer in time; the last failure: {error}")
