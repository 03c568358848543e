"""A fleet, request by request: what the model says is checked against it.

Every host has an exact L1, and all share an exact LRU. An answer lives for its time to
live from when it was computed, wherever its copies are.
"""

from collections import OrderedDict

import numpy as np

from loadtests.sizing.model import Fleet, Ratios


class _Tier:
    """Keys and when they expire; the first one is evicted next."""

    def __init__(self, size: float, is_lru: bool) -> None:
        self._size = size
        self._is_lru = is_lru
        self._expiry = OrderedDict[int, float]()

    def expiry(self, key: int, now: float) -> float | None:
        """Return when a key expires; None if it is not there."""
        expiry = self._expiry.get(key)
        if expiry is None or expiry <= now:
            return None
        if self._is_lru:
            self._expiry.move_to_end(key)
        return expiry

    def put(self, key: int, expiry: float) -> None:
        self._expiry[key] = expiry
        self._expiry.move_to_end(key)
        if len(self._expiry) > self._size:
            self._expiry.popitem(last=False)


def simulate(
    fleet: Fleet, exponent: float, keys: int, requests: int, seed: int = 1
) -> Ratios:
    """Send a Zipf stream; its first half only warms the tiers."""
    random = np.random.default_rng(seed)
    total = np.cumsum(np.arange(1, keys + 1, dtype=np.float64) ** -exponent)
    ranks = np.searchsorted(total, random.random(requests) * total[-1])
    hosts = random.integers(fleet.hosts, size=requests)
    interval = 1 / (fleet.hosts * fleet.rate)
    l1 = [_Tier(fleet.l1_keys, fleet.is_lru) for _ in range(fleet.hosts)]
    shared = _Tier(fleet.shared_keys, is_lru=True)
    warm = requests // 2
    looked_up = computed = 0
    for n, (key, host) in enumerate(zip(ranks.tolist(), hosts.tolist(), strict=True)):
        now = n * interval
        if l1[host].expiry(key, now) is not None:
            continue
        looked_up += n >= warm
        expiry = shared.expiry(key, now)
        if expiry is None:
            computed += n >= warm
            expiry = now + fleet.ttl_seconds
            shared.put(key, expiry)
        l1[host].put(key, expiry)
    return Ratios(1 - looked_up / (requests - warm), 1 - computed / looked_up)
