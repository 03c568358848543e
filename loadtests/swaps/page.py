"""The results of a run as a page of Markdown."""

from collections.abc import Iterator, Sequence

from loadtests.bench import machine
from loadtests.swaps.case import Measured
from loadtests.swaps.figures import Figures

_HEAD = """\
# A model is replaced under load

`python -m loadtests swap`: a service of two workers on one core, an open loop on
another; requests by Zipf's law over 20,000 rows. A latency counts from the time at
which a request was due. The seconds of a swap are those from the `mv` of a version to
two seconds after the last answer of the version before; the others are quiet.

![p99, hits, memory and disk by half seconds](swap.svg)
"""


def page(results: Sequence[tuple[Measured, Figures]]) -> str:
    """Return the page."""
    described = ", ".join(f"{k} {v}" for k, v in machine.describe().items())
    parts = [_HEAD, f"Commit {machine.commit()}; {described}.\n"]
    for measured, figures in results:
        parts.append("\n".join(_case(measured, figures)) + "\n")
    return "\n".join(parts)


def _case(measured: Measured, figures: Figures) -> Iterator[str]:
    case = measured.case
    gauges = measured.gauges
    ratios = [one.hit_ratio for one in figures.swaps]
    yield f"## {case.name}, {case.rate:,.0f} requests a second, {case.swaps} swaps"
    yield ""
    yield "| what | measured |"
    yield "| --- | --- |"
    yield (
        f"| answers; failed, stale, torn | {figures.requests:,}; {figures.failed}, "
        f"{figures.stale}, {figures.torn} |"
    )
    yield (
        f"| p99: quiet, while a model is swapped, the worst second | "
        f"{figures.quiet_p99:.1f}, {figures.swap_p99:.1f}, {figures.worst_p99:.1f} ms |"
    )
    yield (
        f"| of the quiet one | {figures.swap_p99 / figures.quiet_p99:.1f} x, "
        f"{figures.worst_p99 / figures.quiet_p99:.1f} x |"
    )
    yield f"| longest answer while a model is swapped | {figures.longest:.0f} ms |"
    yield (
        "| hits in the first second, as a share of those before: lowest | "
        f"{min(ratios, default=0.0):.2f} |"
    )
    yield f"| memory of the staging (PSS), most | {_most(gauges, 2):,.0f} MB |"
    yield (
        f"| memory of all others (PSS): first, last | {gauges[0].pss_mb:,.0f}, "
        f"{gauges[-1].pss_mb:,.0f} MB |"
    )
    yield f"| `run_dir`: most | {_most(gauges, 3):,.0f} MB |"
    yield ""
    yield "| swap | from `mv` to the first answer | to the last of the old version |"
    yield "| --- | --- | --- |"
    for number, swap in enumerate(figures.swaps, 1):
        first = swap.first - swap.moved
        ended = swap.ended - swap.moved
        yield f"| {number} | {first:.1f} s | {ended:.1f} s |"


def _most(gauges: Sequence[tuple[float, ...]], place: int) -> float:
    return max(one[place] for one in gauges)
