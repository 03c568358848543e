"""Lines as an SVG, written without a library."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH = 760
_HEIGHT = 420
_LEFT = 50
_RIGHT = 190
_TOP = 40
_BOTTOM = 40
_COLOURS = ("#1b7f5c", "#b0653a", "#4a5fa5")
_DASHES = ("", "6 3", "2 3")


class Line(NamedTuple):
    """A line's name, and its points: x on a logarithmic scale, y from 0 to 1."""

    name: str
    points: Sequence[tuple[float, float]]


def lines(title: str, plotted: Sequence[Line]) -> str:
    """Return the lines, each with its name at its end."""
    xs = sorted({x for line in plotted for x, _ in line.points})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{share:.0%}</text>",
        ]
    parts += [
        f'<text x="{_x(x, xs):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">'
        f"{x:,.0f}</text>"
        for x in xs
    ]
    heights = _spread([_y(line.points[-1][1]) for line in plotted])
    for i, (line, height) in enumerate(zip(plotted, heights, strict=True)):
        points = " ".join(f"{_x(x, xs):.1f},{_y(y):.1f}" for x, y in line.points)
        colour = _COLOURS[i // 3 % len(_COLOURS)]
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" '
            f'stroke-width="2" stroke-dasharray="{_DASHES[i % len(_DASHES)]}"/>',
            f'<text x="{_WIDTH - _RIGHT + 8}" y="{height + 4:.1f}" fill="{colour}">'
            f"{escape(line.name)}</text>",
        ]
    return "\n".join([*parts, "</svg>\n"])


def _x(x: float, xs: Sequence[float]) -> float:
    share = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)


def _spread(heights: Sequence[float]) -> list[float]:
    """Return heights that are far enough apart for text, in the same order."""
    places = sorted(range(len(heights)), key=heights.__getitem__)
    found = [0.0] * len(heights)
    lowest = -math.inf
    for place in places:
        lowest = max(heights[place], lowest + 13)
        found[place] = lowest
    return found
