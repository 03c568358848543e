"""Which host gets the next request, which get none, and how many retries there may be.

Of two usable hosts drawn at random, the one with fewer requests under way is picked
("the power of two choices"). A circuit breaker skips hosts that keep failing. A host
that is busy is skipped for as long as it has requested.

For one event loop.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from random import Random
from urllib.parse import urlsplit

from gomlx.cache.breaker import Breaker, BreakerState
from gomlx.runtime.masking import masked
from gomlx.runtime.randomness import RANDOM

_URL = re.compile(r"https?://[^\s/?#,]+(/[^\s?#]*)?", re.IGNORECASE)
_RETRIES_PER_CALL = 0.2
_LEAST_RETRIES = 10.0  # however few the calls
_OBSERVED = 200  # latencies
_ENOUGH = 20  # of them, for a 95th percentile


def address(host: str) -> str:
    """Return the URL of a host; `http://` if it names no scheme. Raises ValueError."""
    url = host if "://" in str(host) else f"http://{host}"
    parts = urlsplit(url)
    try:
        is_url = _URL.fullmatch(url) and parts.hostname and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ValueError(f"expected a host's URL, like http://a:8080, got {host!r}")
    return url.rstrip("/")


class Host:
    """One host: its URL, our requests that are under way there, and its health.

    problem: the text of its last failure; empty once it has answered.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self.name = masked(url)
        self.outstanding = 0
        self.problem = ""
        self.breaker = Breaker(clock)
        self.rests_until = 0.0  # it has requested no requests before
        self._clock = clock

    @property
    def is_usable(self) -> bool:
        """Whether it may be tried now."""
        return self.breaker.may_allow and self.rests_until <= self._clock()

    def succeeded(self) -> None:
        """Note that it has answered."""
        self.problem = ""
        self.breaker.succeeded()

    def failed(self, problem: str) -> None:
        """Note that it has not answered, or not with an answer."""
        self.problem = problem
        self.breaker.failed()

    def busy(self, problem: str, seconds: float) -> None:
        """Note that it works, but wants no requests for some seconds."""
        self.problem = problem
        self.breaker.succeeded()
        self.rests_until = self._clock() + seconds

    def abandoned(self) -> None:
        """Note that a request has no outcome: a half-open breaker opens again."""
        if self.breaker.state is BreakerState.HALF_OPEN:
            self.breaker.failed()


class Hosts:
    """All hosts of a client."""

    def __init__(
        self,
        urls: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        random: Random = RANDOM,
    ) -> None:
        self._clock = clock
        self._random = random
        self.all = [Host(url, clock) for url in dict.fromkeys(map(address, urls))]

    def pick(self, tried: Collection[Host] = ()) -> Host | None:
        """Return a host to try now, rather one not tried yet; None if none is usable.

        Its outcome must be noted: a half-open breaker allows no other request before.
        """
        usable = [host for host in self.all if host.is_usable]
        fresh = [host for host in usable if host not in tried] or usable
        if not fresh:
            return None
        two = self._random.sample(fresh, min(2, len(fresh)))
        host = min(two, key=lambda host: host.outstanding)
        host.breaker.allows()
        return host

    def has_untried(self, tried: Collection[Host]) -> bool:
        """Return whether a host that was not tried yet is usable."""
        return any(host.is_usable for host in self.all if host not in tried)

    def seconds_to_wait(self) -> float | None:
        """Return when the first host that works wants requests; None if none works."""
        resting = [h.rests_until for h in self.all if h.breaker.may_allow]
        return max(min(resting) - self._clock(), 0.0) if resting else None


class RetryBudget:
    """At most a fifth of all calls are retried: that load must not bury a service."""

    def __init__(self) -> None:
        self._retries = _LEAST_RETRIES

    def deposit(self) -> None:
        """Count a call that is not a retry."""
        most = 10 * _LEAST_RETRIES
        self._retries = min(self._retries + _RETRIES_PER_CALL, most)

    def try_withdraw(self) -> bool:
        """Use one retry; return False if none remains."""
        if self._retries < 1:
            return False
        self._retries -= 1
        return True


class Latencies:
    """How long the latest requests took."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_OBSERVED)
        self._added = 0
        self._p95: float | None = None

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._added += 1
        if self._added % _ENOUGH == 0:
            self._p95 = sorted(self._seconds)[int(len(self._seconds) * 0.95)]

    @property
    def p95(self) -> float | None:
        """The seconds that 95 % took less than; None until there are enough."""
        return self._p95
