"""The pieces of a plot: text, lines, arrows and axes as SVG.

Boards are verified character by character, so their plots must not change with a plotting library's release: everything here
is a pure function of numbers. Colours are CSS classes; `STYLE` gives them in light and dark for an SVG that stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
text{font:12px system-ui,sans-serif;fill:#1b1f24}.small{font-size:11px;fill:#59636e}
.grid{stroke:#d1d9e0;stroke-width:1}.line{stroke-width:2}.neutral{stroke:#59636e;fill:#59636e}.better{stroke:#0072b2;fill:#0072b2}
.worse{stroke:#d55e00;fill:#d55e00}.bar{stroke-width:2.5;stroke-linecap:round}.from{fill:none;stroke-width:2}
.unshown{stroke-dasharray:4 3}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.grid{stroke:#3d444d}.neutral{stroke:#9198a1;fill:#9198a1}
.better{stroke:#56b4e9;fill:#56b4e9}.worse{stroke:#ff9a4d;fill:#ff9a4d}.from{fill:none}}
"""
"""Blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Marks and the space they need, in pixels."""

    width: float
    height: float
    marks: str
    title: str
    """What it shows, for those who do not see it."""

    def svg(self, *, alone: bool = False) -> str:
        """An ``<svg>`` element; ``alone``: a file that brings its own style."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
        style = f"<style>{STYLE}</style>" if alone else ""
        title = escape(self.title)
        return f'<svg{space} {size} role="img" aria-label="{title}"><title>{title}</title>{style}{self.marks}</svg>\n'


def side_by_side(drawings: Sequence[Drawing], title: str, gap: float = 24) -> Drawing:
    """Drawings in one row."""
    marks, x = [], 0.0
    for drawing in drawings:
        marks.append(f'<g transform="translate({x:g} 0)">{drawing.marks}</g>')
        x += drawing.width + gap
    return Drawing(
        width=max(x - gap, 1),
        height=max((drawing.height for drawing in drawings), default=1),
        marks="".join(marks),
        title=title,
    )


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixels of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Three to seven round values inside the axis."""
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / 2))
        step *= next((m for m in (1, 2, 5, 10) if span / (m * step) <= 6), 10)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis that holds all values with some air."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or max(abs(high) * 0.05, 0.5)
    return Axis(low - air, high + air, start, end)


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """One line of text."""
    css = f' class="{kind}"' if kind else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{css}{place}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def dot(x: float, y: float, kind: str, radius: float = 4.5) -> str:
    """A circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}"/>'


def arrow(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A line with a head at its second end; too short a way has no room for a head."""
    length = math.hypot(x2 - x1, y2 - y1)
    drawn = line(x1, y1, x2, y2, f"line {kind}")
    if length < 12:
        return drawn
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    base = x2 - 9 * dx, y2 - 9 * dy
    corners = [
        (x2, y2),
        (base[0] - 4.5 * dy, base[1] + 4.5 * dx),
        (base[0] + 4.5 * dy, base[1] - 4.5 * dx),
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'{drawn}<polygon points="{points}" class="{kind.replace(" unshown", "")}"/>'


def shorten(content: str, width: float) -> str:
    """Text cut to about ``width`` pixels of 12-pixel type."""
    room = int(width / 6.6)
    return content if len(content) <= room else content[: room - 1] + "…"
