"""Bars as an SVG, written without a library."""

import math
from collections.abc import Mapping
from html import escape

_WIDTH = 760
_LEFT = 250
_ROW = 22
_COLOURS = {"gomlx": "#1b7f5c", "two workers": "#1b7f5c", "nginx": "#777777"}


def bars(title: str, values: Mapping[str, float]) -> str:
    """Return horizontal bars on a logarithmic scale, the shortest first."""
    height = _ROW * (len(values) + 2)
    low = 10 ** math.floor(math.log10(min(values.values())))
    scale = (_WIDTH - _LEFT - 70) / math.log10(max(values.values()) / low)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(title)}, '
        "logarithmic scale</text>",
    ]
    for i, (name, value) in enumerate(sorted(values.items(), key=lambda x: x[1])):
        y = _ROW * (i + 1) + 6
        length = math.log10(value / low) * scale
        fill = next((c for n, c in _COLOURS.items() if name.startswith(n)), "#b0653a")
        end = f'y="{y + 13}"'
        parts += [
            f'<text x="{_LEFT - 8}" {end} text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="16" '
            f'fill="{fill}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" {end}>{value:,.1f}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])
