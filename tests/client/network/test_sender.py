"""A request and its attempts, over hosts that are functions."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from gomlx.cache.breaker import BreakerState
from gomlx.client.metrics import ClientMetrics
from gomlx.client.network.hosts import Hosts, RetryBudget
from gomlx.client.network.sender import Sender
from gomlx.client.network.transport import Request, Response
from gomlx.errors import ConnectionFailed, DeadlineExceeded, InvalidInput, NoHost

pytestmark = pytest.mark.asyncio

OK = Response(200, {}, b"ok")
REQUEST = Request("/path", {"A": "b"}, b"body")
Behavior = Callable[[], Awaitable[Response]]


async def works() -> Response:
    return OK


async def hangs() -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def is_down() -> Response:
    raise ConnectionFailed("refused")


async def refuses() -> Response:
    return Response(400, {}, b'{"error":"no such input"}')


class Service:
    """Hosts that are functions, as a Transport, and a Sender to them."""

    def __init__(self, *behaviors: Behavior, hedges: bool = False) -> None:
        self.behaviors = list(behaviors)
        self.requests: list[Request] = []
        self.metrics = ClientMetrics()
        self.hosts = Hosts(
            [f"http://h{n}" for n in range(len(behaviors))], random=Random(7)
        )
        self.sender = Sender(self.hosts, self, self.metrics, hedges, Random(7))

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        return await self.behaviors[int(request.url[len("http://h")])]()

    async def close(self) -> None:
        pass

    async def call(self, seconds: float = 5.0) -> bytes:
        def read(response: Response) -> bytes:
            return response.body

        deadline = asyncio.get_running_loop().time() + seconds
        return await self.sender.send(REQUEST, read, deadline)

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.metrics.requests)


async def test_a_request_has_the_hosts_url_and_a_timeout() -> None:
    service = Service(works)
    assert await service.call() == b"ok"
    (sent,) = service.requests
    assert (sent.url, sent.body) == ("http://h0/path", b"body")
    assert sent.headers["A"] == "b"
    assert 4000 < int(sent.headers["Request-Timeout-Ms"]) <= 5000
    assert service.counts == {"answered": 1}
    assert [host.outstanding for host in service.hosts.all] == [0]


async def test_each_host_is_tried_before_one_is_tried_again() -> None:
    service = Service(is_down, is_down, works)
    for _ in range(4):
        service.requests.clear()
        assert await service.call() == b"ok"
        urls = [request.url for request in service.requests]
        assert len(urls) == len(set(urls))
        assert urls[-1] == "http://h2/path"


async def test_a_refusal_says_that_the_host_works() -> None:
    service = Service(refuses)
    for _ in range(9):
        with pytest.raises(InvalidInput, match="no such input"):
            await service.call()
    (host,) = service.hosts.all
    assert host.breaker.state is BreakerState.CLOSED
    assert service.counts == {}


async def test_an_error_names_the_host() -> None:
    service = Service(is_down)
    with pytest.raises(DeadlineExceeded, match="failure: http://h0: refused"):
        await service.call(seconds=0.01)


async def test_a_host_that_hangs_leaves_time_for_another() -> None:
    service = Service(hangs, works)
    service.hosts.all[1].outstanding = 1  # so the first one is picked
    assert await service.call(seconds=0.2) == b"ok"
    assert service.counts == {"failed": 1, "retried": 1, "answered": 1}


async def test_without_a_retry_the_error_is_raised() -> None:
    service = Service(is_down, is_down, is_down)
    with pytest.raises((ConnectionFailed, NoHost)) as caught:
        for _ in range(50):
            await service.call(seconds=1.0)
    assert isinstance(caught.value, NoHost)
    assert service.counts["retried"] <= 11


async def hedged(service: Service) -> None:
    """Make enough calls for a 95th percentile; then the first host hangs."""
    for _ in range(20):
        await service.call()
    service.behaviors[0] = hangs
    service.hosts.all[0].outstanding = -1  # so it is picked first


def empty(budget: RetryBudget) -> None:
    """Leave less than what a call adds short of one retry."""
    for _ in range(2):
        while budget.try_withdraw():
            pass
        budget.deposit()
    assert not budget.try_withdraw()


async def test_a_slow_request_is_sent_to_a_second_host() -> None:
    service = Service(works, works, hedges=True)
    await hedged(service)
    assert await service.call() == b"ok"
    assert service.counts == {"answered": 21, "hedged": 1}
    await asyncio.sleep(0)
    assert [host.outstanding for host in service.hosts.all] == [-1, 0]


async def test_hedging_without_a_retry_tries_no_second_host() -> None:
    """A half-open breaker must not wait for an attempt that is not made."""
    now = 0.0
    service = Service(works, works, hedges=True)
    service.hosts = Hosts(["http://h0", "http://h1"], clock=lambda: now)
    service.sender = Sender(service.hosts, service, service.metrics, True, Random(7))
    await hedged(service)
    second = service.hosts.all[1]
    for _ in range(5):
        second.failed("it broke")
    now = 60.0  # the breaker would let one request try
    empty(service.sender.budget)
    with pytest.raises(DeadlineExceeded):
        await service.call(seconds=0.05)
    assert second.breaker.state is BreakerState.OPEN
    assert second.is_usable
    assert "hedged" not in service.counts


async def test_a_bug_of_a_transport_does_not_block_its_host() -> None:
    """A half-open breaker must not wait for the outcome of a request that has none."""

    async def has_a_bug() -> Response:
        raise ZeroDivisionError

    now = 0.0
    service = Service(has_a_bug)
    service.hosts = Hosts(["http://h0"], clock=lambda: now)
    service.sender = Sender(service.hosts, service, service.metrics, False)
    (host,) = service.hosts.all
    for _ in range(5):
        host.failed("it broke")
    now = 60.0
    with pytest.raises(ZeroDivisionError):
        await service.call()
    assert host.breaker.state is BreakerState.OPEN
    now = 120.0
    assert host.is_usable


@pytest.mark.parametrize("hedges", [False, True])
async def test_a_cancelled_call_cancels_its_attempts(hedges: bool) -> None:
    service = Service(works, hangs, hedges=hedges)
    service.behaviors[0] = hangs
    task: asyncio.Task[Any] = asyncio.create_task(service.call())
    while not service.requests:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert [host.outstanding for host in service.hosts.all] == [0, 0]
