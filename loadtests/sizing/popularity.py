"""How often each key of a Zipf stream is requested, for key spaces of any size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SINGLE = 3000  # ranks that have a bin of their own
_BINS = 1000  # of the other ranks, evenly spaced by logarithm


@dataclass(frozen=True)
class Popularity:
    """Keys in bins of equal popularity.

    keys: how many are in each bin. share: of the requests, for each key of the bin.
    Both are float64 of shape [bins]; the products sum up to 1.
    """

    keys: Floats
    share: Floats


def zipf(exponent: float, keys: int) -> Popularity:
    """Return the popularity 1 / rank ** exponent of that many keys."""
    single = np.arange(1, min(_SINGLE, keys) + 1, dtype=np.float64)
    if keys <= _SINGLE:
        return _normed(np.ones(keys), single**-exponent)
    edges = np.geomspace(_SINGLE + 1, keys + 1, _BINS + 1).round()
    edges = np.unique(edges)
    counts = np.diff(edges)
    # The sum over the ranks of a bin is nearly the integral from half a rank before.
    integral = _integral(exponent, edges - 0.5)
    weights = np.diff(integral) / counts
    return _normed(
        np.concatenate([np.ones(_SINGLE), counts]),
        np.concatenate([single**-exponent, weights]),
    )


def _integral(exponent: float, x: Floats) -> Floats:
    """Return the integral of 1 / x ** exponent, up to a constant."""
    if exponent == 1:
        return np.log(x)
    return x ** (1 - exponent) / (1 - exponent)


def _normed(keys: Floats, weights: Floats) -> Popularity:
    return Popularity(keys, weights / float(keys @ weights))
