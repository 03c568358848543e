"""Which host to ask next; which not to; and how often to ask again.

For one thread: the event loop's.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from random import Random
from urllib.parse import urlsplit

from gomlx.cache.breaker import Breaker, BreakerState
from gomlx.config.masking import masked

_RANDOM = Random()  # whoever seeds the program's own must not have us agree

_URL = re.compile(r"https?://[^\s/?#,]+(/[^\s?#]*)?", re.IGNORECASE)
_RETRIES_A_CALL = 0.2  # what each call adds to the budget,
_RETRIES_AT_LEAST = 10.0  # and what there is without calls
_OBSERVED = 200  # latencies
_ENOUGH = 20  # of them, to tell the 95th percentile


def address(host: str) -> str:
    """Return the URL of a host, `http://` if it does not say. Raises ValueError."""
    url = host if "://" in str(host) else f"http://{host}"
    parts = urlsplit(url)
    try:
        is_one = _URL.fullmatch(url) and parts.hostname and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise ValueError(f"expected a host's URL, like http://a:8080, got {host!r}")
    return url.rstrip("/")


class Host:
    """One host: where it is, how much it has to do for us, how it has been."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url, self.name = url, masked(url)
        self.breaker = Breaker(clock)
        self.outstanding = 0
        self.rests_until = 0.0  # it asked to be left alone until then
        self.problem = ""  # the last one

    def succeeded(self) -> None:
        """It has answered."""
        self.problem = ""
        self.breaker.succeeded()

    def failed(self, problem: str) -> None:
        """It has not, or nothing sensible."""
        self.problem = problem
        self.breaker.failed()

    def left(self) -> None:
        """Nobody waited for its answer: a try that was one tells nothing."""
        if self.breaker.state is BreakerState.HALF_OPEN:
            self.breaker.failed()


class Hosts:
    """All hosts of a client."""

    def __init__(
        self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self.all = [Host(url, clock) for url in dict.fromkeys(map(address, urls))]

    def pick(self, tried: Collection[Host] = ()) -> Host | None:
        """Return the less busy of two that take requests, rather one not tried yet."""
        usable = [host for host in self.all if self._is_usable(host)]
        fresh = [host for host in usable if host not in tried] or usable
        if not fresh:
            return None
        two = _RANDOM.sample(fresh, min(2, len(fresh)))
        host = min(two, key=lambda host: host.outstanding)
        host.breaker.allows()
        return host

    def others(self, tried: Collection[Host]) -> bool:
        """True when a host that was not tried takes requests."""
        return any(self._is_usable(h) for h in self.all if h not in tried)

    def rest(self) -> float | None:
        """Return how long all that work ask to be left alone; None: none works."""
        resting = [h.rests_until for h in self.all if h.breaker.may_allow]
        return max(min(resting) - self._clock(), 0.0) if resting else None

    def _is_usable(self, host: Host) -> bool:
        return host.breaker.may_allow and host.rests_until <= self._clock()


class RetryBudget:
    """Retries may be a fifth of all calls: a service in trouble needs no more load."""

    def __init__(self) -> None:
        self._tokens = _RETRIES_AT_LEAST

    def call(self) -> None:
        """A call that is no retry."""
        self._tokens = min(self._tokens + _RETRIES_A_CALL, 10 * _RETRIES_AT_LEAST)

    def take(self) -> bool:
        """Take one retry, if there is one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Latencies:
    """How long the last requests took."""

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
        """What 95 in 100 took less than; None until enough is known."""
        return self._p95
