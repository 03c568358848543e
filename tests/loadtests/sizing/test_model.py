"""The model of a fleet agrees with a simulation, and behaves as fleets do."""

import numpy as np
import pytest

from loadtests.sizing.model import Fleet, hit_ratios
from loadtests.sizing.popularity import zipf
from loadtests.sizing.simulation import simulate

KEYS = 20_000
NEVER = 1e9  # seconds


@pytest.mark.parametrize(
    "fleet",
    [
        Fleet(1, 1000, 1000, 5000, NEVER),
        Fleet(10, 1000, 1000, 5000, NEVER),
        Fleet(10, 1000, 1000, KEYS, 5),
        Fleet(10, 1000, 1000, KEYS, 5, is_lru=False),
        Fleet(10, 1000, KEYS, KEYS, 5),
        Fleet(20, 500, 500, 2000, 10),
    ],
)
@pytest.mark.parametrize("exponent", [0.8, 1.1])
def test_it_agrees_with_a_simulation(fleet: Fleet, exponent: float) -> None:
    model = hit_ratios(fleet, zipf(exponent, KEYS))
    simulated = simulate(fleet, exponent, KEYS, 200_000)
    assert model.l1 == pytest.approx(simulated.l1, abs=0.03)
    assert model.shared == pytest.approx(simulated.shared, abs=0.04)
    assert model.computed == pytest.approx(simulated.computed, abs=0.03)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.1])
def test_bins_stand_for_all_keys(exponent: float) -> None:
    keys = 200_000
    popularity = zipf(exponent, keys)
    exact = np.arange(1, keys + 1, dtype=np.float64) ** -exponent
    exact /= exact.sum()
    assert popularity.keys.sum() == keys
    assert popularity.keys @ popularity.share == pytest.approx(1)
    upto = popularity.keys.cumsum().astype(int)
    shares = (popularity.keys * popularity.share).cumsum()
    np.testing.assert_allclose(shares, exact.cumsum()[upto - 1], rtol=1e-5)


def test_few_keys_have_a_bin_each() -> None:
    assert zipf(1.0, 3).share.tolist() == pytest.approx([6 / 11, 3 / 11, 2 / 11])


def test_a_tier_with_room_computes_each_key_once_in_its_time() -> None:
    """One key, one request a second at each of 10 hosts, for 100 s."""
    ratios = hit_ratios(Fleet(10, 1, 10, 10, 100), zipf(1.0, 1))
    assert ratios.computed == pytest.approx(1 / 1001)
    assert ratios.l1 == pytest.approx(1 - 10 / 1001)
    assert ratios.shared == pytest.approx(9 / 10)


def test_more_memory_and_more_hosts_help() -> None:
    popularity = zipf(0.9, 10**7)

    def ratios(hosts: int, l1_keys: float, shared_keys: float = 10**8) -> list[float]:
        found = hit_ratios(Fleet(hosts, 1000, l1_keys, shared_keys, 3600), popularity)
        return [found.l1, found.shared, found.computed]

    l1, shared, computed = zip(
        *(ratios(n, 10**5) for n in (10, 100, 1000)), strict=True
    )
    assert max(l1) - min(l1) < 0.01
    assert sorted(shared) == list(shared)
    assert sorted(computed, reverse=True) == list(computed)
    assert ratios(10, 10**6)[0] > ratios(10, 10**5)[0]
    assert ratios(10, 10**5, 10**5)[2] > ratios(10, 10**5)[2]
