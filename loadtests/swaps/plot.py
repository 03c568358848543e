"""Runs by half seconds as an SVG: a small plot a figure, swaps as lines."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from loadtests.swaps.case import Measured
from loadtests.swaps.figures import Figures, Slot

_WIDTH = 760
_LEFT = 150
_RIGHT = 70
_ROW = 46
_TITLE = 26
_COLOUR = "#1b7f5c"
_OTHER = "#b0653a"


class Line(NamedTuple):
    """A figure over time. points: seconds from the start of the load, and value."""

    name: str
    points: Sequence[tuple[float, float]]


def plot(runs: Sequence[tuple[Measured, Figures, Sequence[Slot]]]) -> str:
    """Return the plots of all runs, one below the other."""
    blocks = []
    top = 0
    for measured, figures, slots in runs:
        blocks += _block(measured, figures, lines(measured, slots), top)
        top += _TITLE + _ROW * 6 + 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        'font-family="sans-serif" font-size="11">'
    )
    white = f'<rect width="{_WIDTH}" height="{top}" fill="white"/>'
    return "\n".join([head, white, *blocks, "</svg>\n"])


def lines(measured: Measured, slots: Sequence[Slot]) -> list[Line]:
    """Return what is drawn of a run."""
    started = measured.samples.started
    gauges = [(one.at - started, one) for one in measured.gauges]
    return [
        Line("p50, ms", [(one.at, one.p50) for one in slots]),
        Line("p99, ms", [(one.at, one.p99) for one in slots]),
        Line("p99.9, ms", [(one.at, one.p999) for one in slots]),
        Line("hit ratio", [(one.at, one.hit_ratio) for one in slots]),
        Line("PSS, MB", [(at, one.pss_mb + one.staging_mb) for at, one in gauges]),
        Line("run_dir, MB", [(at, one.disk_mb) for at, one in gauges]),
    ]


def _block(
    measured: Measured, figures: Figures, drawn: Sequence[Line], top: int
) -> list[str]:
    seconds = measured.seconds
    below = top + _TITLE + _ROW * len(drawn)
    title = f"{measured.case.name}, {measured.case.rate:,.0f} requests a second"
    parts = [f'<text x="12" y="{top + 16}" font-weight="bold">{escape(title)}</text>']
    for swap in figures.swaps:
        parts += [
            f'<path d="M{_x(at, seconds):.1f} {top + _TITLE}V{below}" '
            f'stroke="{_OTHER}" stroke-dasharray="{dashes}"/>'
            for at, dashes in ((swap.moved, "1 3"), (swap.ended, "none"))
        ]
    for row, line in enumerate(drawn):
        parts += _drawn(line, top + _TITLE + _ROW * (row + 1) - 6, seconds)
    end = f"{seconds:.0f} s"
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{below + 12}">{end}</text>')
    return parts


def _drawn(line: Line, bottom: int, seconds: float) -> list[str]:
    """Return one figure, from zero to its greatest value."""
    most = max((value for _, value in line.points), default=0.0) or 1.0
    points = " ".join(
        f"{_x(at, seconds):.1f},{bottom - value / most * (_ROW - 14):.1f}"
        for at, value in line.points
        if 0 <= at <= seconds
    )
    return [
        f'<text x="{_LEFT - 8}" y="{bottom - 10}" text-anchor="end">'
        f"{escape(line.name)}</text>",
        f'<path d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>',
        f'<polyline points="{points}" fill="none" stroke="{_COLOUR}" '
        'stroke-width="1.2"/>',
        f'<text x="{_WIDTH - _RIGHT + 6}" y="{bottom - 10}">{most:,.1f}</text>',
    ]


def _x(at: float, seconds: float) -> float:
    return _LEFT + at / seconds * (_WIDTH - _LEFT - _RIGHT)
