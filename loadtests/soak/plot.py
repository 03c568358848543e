"""Gauges over time as an SVG: one small plot for each, events as marks below."""

from collections.abc import Sequence
from html import escape

from loadtests.soak.gauges import TOLERANCES, Sample
from loadtests.soak.schedule import Event, Kind

_WIDTH = 760
_LEFT = 210
_RIGHT = 70
_ROW = 54
_TOP = 34
_MARKS = 12
_COLOUR = "#1b7f5c"
_OTHER = "#b0653a"


def plot(
    title: str, samples: Sequence[Sample], events: Sequence[Event], warm: float
) -> str:
    """Return the plot. warm: the seconds after which gauges are judged."""
    seconds = samples[-1].at
    kinds = [*Kind]
    below = _TOP + _ROW * len(TOLERANCES) + 10
    height = below + _MARKS * len(kinds) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="18" font-weight="bold">{escape(title)}</text>',
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_x(warm, seconds) - _LEFT:.1f}" '
        f'height="{below - _TOP}" fill="#f2f2f2"/>',
    ]
    for place, name in enumerate(TOLERANCES):
        parts += _line(name, place, samples)
    for row, kind in enumerate(kinds):
        y = below + _MARKS * (row + 1)
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end" font-size="9">'
            f"{escape(kind)}</text>"
        )
        parts += [
            f'<circle cx="{_x(event.at, seconds):.1f}" cy="{y - 3}" r="2.5" '
            f'fill="{_OTHER}"/>'
            for event in events
            if event.kind is kind
        ]
    end = f"{seconds / 60:.0f} min"
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{height - 8}">{end}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _line(name: str, place: int, samples: Sequence[Sample]) -> list[str]:
    """Return one gauge, from zero to its greatest value."""
    most = max(one.values[place] for one in samples) or 1.0
    bottom = _TOP + _ROW * (place + 1) - 8
    points = " ".join(
        f"{_x(one.at, samples[-1].at):.1f},"
        f"{bottom - one.values[place] / most * (_ROW - 16):.1f}"
        for one in samples
    )
    return [
        f'<text x="{_LEFT - 8}" y="{bottom - 12}" text-anchor="end">{escape(name)}'
        "</text>",
        f'<path d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>',
        f'<polyline points="{points}" fill="none" stroke="{_COLOUR}" '
        'stroke-width="1.5"/>',
        f'<text x="{_WIDTH - _RIGHT + 6}" y="{bottom - 12}">'
        f"{samples[-1].values[place]:,.1f}</text>",
    ]


def _x(at: float, seconds: float) -> float:
    return _LEFT + at / seconds * (_WIDTH - _LEFT - _RIGHT)
