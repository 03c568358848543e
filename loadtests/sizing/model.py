"""Hit ratios of the tiers of a fleet, by Che's approximation.

A tier that evicts keeps a key for a characteristic time, which is the same for all
keys: the time in which as many keys come new as fit. It is the one unknown of each
tier, and found by bisection: with it, the keys that are there fill the tier.

Time to live couples the tiers. An answer that a host computes is written to the shared
tier, and what others find there lives for the rest of its time only. So the fleet goes
through epochs of one answer: it is computed, hosts that need it fetch it, each as often
as its L1 has lost it, and it expires everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadtests.sizing.popularity import Floats, Popularity

_STEPS = 50  # of a bisection
_LONGEST = 1e12  # seconds: never


@dataclass(frozen=True)
class Fleet:
    """Hosts that share a tier.

    rate: requests a second, of each host. l1_keys and shared_keys: how many answers
    fit. is_lru: what L1 evicts was not used for longest; otherwise it is the oldest.
    """

    hosts: int
    rate: float
    l1_keys: float
    shared_keys: float
    ttl_seconds: float
    is_lru: bool = True


@dataclass(frozen=True)
class Ratios:
    """l1: hits of all requests. shared: hits of the look-ups in the shared tier.

    computed: the share of all requests that run the model.
    """

    l1: float
    shared: float

    @property
    def computed(self) -> float:
        return (1 - self.l1) * (1 - self.shared)


def hit_ratios(fleet: Fleet, popularity: Popularity) -> Ratios:
    """Return the ratios of a stream that is spread over the hosts at random."""
    keys = popularity.keys
    rate = popularity.share * fleet.rate  # of a key, at one host
    everywhere = rate * fleet.hosts
    requests = 1 + everywhere * fleet.ttl_seconds  # of an epoch

    def in_l1(l1_seconds: float) -> float:
        return float(keys @ (1 - _lookups(fleet, rate, l1_seconds) / requests))

    lookups = _lookups(fleet, rate, _root(in_l1, fleet.l1_keys))
    looked_up = everywhere * lookups / requests  # a second
    computed = np.minimum(_computed(fleet, keys, everywhere, looked_up), looked_up)
    missed = float(keys @ looked_up)
    return Ratios(
        1 - missed / (fleet.hosts * fleet.rate), 1 - float(keys @ computed) / missed
    )


def _lookups(fleet: Fleet, rate: Floats, l1_seconds: float) -> Floats:
    """Return how often the hosts miss a key in an epoch, in all.

    The host that computes it misses it once, and again when its L1 has lost it; each of
    the others when it first needs it, and again.
    """
    epoch = fleet.ttl_seconds
    kept = _residence(rate, l1_seconds) if fleet.is_lru else l1_seconds
    kept = np.minimum(kept, epoch)
    again = (epoch - kept) * rate / (1 + rate * kept)
    return 1 + again + (fleet.hosts - 1) * (-np.expm1(-rate * kept) + again)


def _computed(
    fleet: Fleet, keys: Floats, everywhere: Floats, looked_up: Floats
) -> Floats:
    """Return how often a key is computed, a second.

    looked_up: how often it is looked up in the shared tier. A tier that is large enough
    has each key for the whole epoch; one that evicts is an LRU, whose keys may come
    back while they are still in some L1.
    """
    ttl = fleet.ttl_seconds
    once = everywhere / (1 + everywhere * ttl)
    if float(keys @ (once * ttl)) <= fleet.shared_keys:
        return once

    def present(seconds: float) -> Floats:
        kept = looked_up * np.minimum(_residence(looked_up, seconds), ttl)
        return kept / (1 + kept)

    seconds = _root(lambda t: float(keys @ present(t)), fleet.shared_keys)
    return np.maximum(looked_up * (1 - present(seconds)), once)


def _residence(rate: Floats, seconds: float) -> Floats:
    """Return how long an LRU keeps a key: until it is not used for that long."""
    return np.expm1(np.minimum(rate * seconds, 60.0)) / np.maximum(rate, 1e-300)


def _root(filled: Callable[[float], float], size: float) -> float:
    """Return the characteristic time at which a tier of that size is full.

    filled grows with time. A tier that is never full evicts nothing.
    """
    low = -12.0  # of the logarithm
    high = float(np.log(_LONGEST))
    if filled(_LONGEST) <= size:
        return _LONGEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if filled(float(np.exp(middle))) > size:
            high = middle
        else:
            low = middle
    return float(np.exp(high))
