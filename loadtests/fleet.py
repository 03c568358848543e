"""Hit ratios and the load of Redis for fleets: python -m loadtests.fleet

Models hosts that share a tier (loadtests/sizing/model.py): 10 to 1,000 hosts, Zipf
streams over 1e5 to 1e8 keys, several sizes of L1. Simulates a few of them request by
request, to check the model. Says how expensive a model has to be for the tier to pay.
Takes half a minute. Prints its results, and writes loadtests/results/fleet.md, the plot
beside it, and the section of docs/internals/scale.md.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from time import perf_counter
from typing import NamedTuple

from loadtests.bench.results import ROOT
from loadtests.sizing.lines import Line, lines
from loadtests.sizing.model import Fleet, Ratios, hit_ratios
from loadtests.sizing.popularity import zipf
from loadtests.sizing.simulation import simulate
from loadtests.sizing.worth import break_even, server_cores

HOSTS = (10, 100, 1000)
EXPONENTS = (0.7, 0.8, 0.9, 1.0, 1.1)
KEYS = (10**5, 10**6, 10**7, 10**8)
L1_MEGABYTES = (64, 256, 1024)
RATE = 1000.0  # requests a second, of each host
SHARED_GIGABYTES = 8
TTL_SECONDS = 3600.0  # the default
# Bytes of memory for an answer of 100 bytes: python -m loadtests.l1.hit_ratio and
# python -m loadtests.tiers.
L1_BYTES = 177
SHARED_BYTES = 287

PAGE = ROOT / "docs" / "internals" / "scale.md"
FOLDER = ROOT / "loadtests" / "results"
BEGIN = "<!-- python -m loadtests.fleet: begin -->"
END = "<!-- python -m loadtests.fleet: end -->"
_SHOWN_EXPONENTS = (0.7, 0.9, 1.1)
_SHOWN_MEGABYTES = 256
_CHECKED_REQUESTS = 1_000_000


class Sized(NamedTuple):
    """A fleet of the table, and what the model says of it."""

    hosts: int
    exponent: float
    keys: int
    megabytes: int
    ratios: Ratios

    @property
    def lookups(self) -> float:
        """Rows that are looked up in the shared tier, a second, by the whole fleet."""
        return self.hosts * RATE * (1 - self.ratios.l1)

    @property
    def computed(self) -> float:
        """Rows that are computed, a second, by the whole fleet."""
        return self.hosts * RATE * self.ratios.computed


class Checked(NamedTuple):
    """A fleet that was modelled and simulated."""

    fleet: Fleet
    exponent: float
    keys: int
    model: Ratios
    simulated: Ratios


def sized() -> list[Sized]:
    """Model all fleets of the table."""
    found = []
    for exponent, keys in product(EXPONENTS, KEYS):
        popularity = zipf(exponent, keys)
        for megabytes, hosts in product(L1_MEGABYTES, HOSTS):
            fleet = Fleet(
                hosts,
                RATE,
                megabytes * 2**20 / L1_BYTES,
                SHARED_GIGABYTES * 2**30 / SHARED_BYTES,
                TTL_SECONDS,
            )
            ratios = hit_ratios(fleet, popularity)
            found.append(Sized(hosts, exponent, keys, megabytes, ratios))
    return found


def checks() -> list[Checked]:
    """Model and simulate small fleets: that expire, that evict, in both tiers."""
    return [
        _checked(Fleet(10, 1000, 5_000, 10**6, 20), 0.9, 10**5),
        _checked(Fleet(10, 1000, 5_000, 10**6, 20, is_lru=False), 0.9, 10**5),
        _checked(Fleet(10, 1000, 20_000, 20_000, 50), 1.1, 10**5),
        _checked(Fleet(100, 100, 3_000, 10**6, 25), 0.7, 10**5),
        _checked(Fleet(100, 100, 10**6, 10**6, 25), 0.9, 10**5),
        _checked(Fleet(30, 1000, 5_000, 30_000, 10**6), 1.0, 10**6),
    ]


def _checked(fleet: Fleet, exponent: float, keys: int) -> Checked:
    model = hit_ratios(fleet, zipf(exponent, keys))
    simulated = simulate(fleet, exponent, keys, _CHECKED_REQUESTS)
    return Checked(fleet, exponent, keys, model, simulated)


def check_table(checked: Sequence[Checked]) -> Iterator[str]:
    """Yield the model beside the simulation."""
    columns = (
        "hosts, requests/s of each",
        "Zipf, keys",
        "answers in L1, in the shared tier",
        "time to live",
        "L1 hits: model, simulated",
        "shared hits",
        "computed",
    )
    yield f"| {' | '.join(columns)} |"
    yield "| --- " * len(columns) + "|"
    for one in checked:
        fleet = one.fleet
        evicted = "LRU" if fleet.is_lru else "oldest out"
        pairs = (
            (one.model.l1, one.simulated.l1),
            (one.model.shared, one.simulated.shared),
            (one.model.computed, one.simulated.computed),
        )
        yield (
            f"| {fleet.hosts}, {fleet.rate:,.0f} | {one.exponent}, {one.keys:,} "
            f"| {fleet.l1_keys:,} {evicted}, {fleet.shared_keys:,} "
            f"| {fleet.ttl_seconds:,.0f} s | "
            + " | ".join(f"{model:.1%}, {exact:.1%}" for model, exact in pairs)
            + " |"
        )


def fleet_table(all_sized: Sequence[Sized]) -> Iterator[str]:
    """Yield a line a stream and L1, with columns for each number of hosts."""
    names = ("L1 hits", "shared hits", "look-ups/s", "cores", "pays from")
    columns = [f"{name}, {hosts:,}" for name in names for hosts in HOSTS]
    yield f"| Zipf | keys | L1 MB | {' | '.join(columns)} |"
    yield "| --- " * (len(columns) + 3) + "|"
    for first in range(0, len(all_sized), len(HOSTS)):
        group = all_sized[first : first + len(HOSTS)]
        cells = [
            *(f"{one.ratios.l1:.0%}" for one in group),
            *(f"{one.ratios.shared:.0%}" for one in group),
            *(f"{one.lookups:,.0f}" for one in group),
            *(f"{server_cores(one.lookups, one.computed):.1f}" for one in group),
            *(f"{break_even(one.ratios.shared):.1f}" for one in group),
        ]
        one = group[0]
        yield (
            f"| {one.exponent} | {one.keys:.0e} | {one.megabytes} "
            f"| {' | '.join(cells)} |"
        ).replace("e+0", "e")


def worth_table() -> Iterator[str]:
    """Yield from which cost of a run on a tier pays, by its hit ratio."""
    yield "| hits in the tier, of its look-ups | a run must cost, in look-ups |"
    yield "| --- | --- |"
    for ratio in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0):
        yield f"| {ratio:.0%} | {break_even(ratio):.1f} |"


def plot(all_sized: Sequence[Sized]) -> str:
    """Return a plot of the shared tier's hits by L1's, a line a stream."""
    plotted = [
        Line(
            f"Zipf {exponent}, {keys:.0e} keys".replace("e+0", "e"),
            [
                (one.hosts, one.ratios.shared)
                for one in all_sized
                if (one.exponent, one.keys, one.megabytes)
                == (exponent, keys, _SHOWN_MEGABYTES)
            ],
        )
        for exponent, keys in product(_SHOWN_EXPONENTS, KEYS[1:])
    ]
    return lines("Hits of the look-ups in the shared tier, by hosts", plotted)


def section(all_sized: Sequence[Sized], checked: Sequence[Checked]) -> list[str]:
    """Return the section of docs/internals/scale.md."""
    shown = [
        one
        for one in all_sized
        if one.megabytes == _SHOWN_MEGABYTES and one.exponent in _SHOWN_EXPONENTS
    ]
    return [
        *fleet_table(shown),
        "",
        "![Hits in the shared tier](../../loadtests/results/fleet.svg)",
        "",
        "The model beside the simulation:",
        "",
        *check_table(checked),
        "",
        "Where a shared tier pays:",
        "",
        *worth_table(),
    ]


def save(all_sized: Sequence[Sized], checked: Sequence[Checked]) -> None:
    """Write the whole table, the plot, and the page's section."""
    whole = ["# Fleets", "", *fleet_table(all_sized), ""]
    (FOLDER / "fleet.md").write_text("\n".join(whole))
    (FOLDER / "fleet.svg").write_text(plot(all_sized))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    text = "\n".join([before + BEGIN, *section(all_sized, checked), END + after])
    PAGE.write_text(text)


def main() -> None:
    """Model, simulate, print and write."""
    started = perf_counter()
    all_sized = sized()
    checked = checks()
    print("\n".join(section(all_sized, checked)))  # noqa: T201
    save(all_sized, checked)
    print(f"\n{perf_counter() - started:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
