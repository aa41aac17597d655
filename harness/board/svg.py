"""The pieces of a plot: text, lines, arrows and axes as SVG.

Boards are verified character by character, so their plots must not change with a plotting library's release: everything here
is a pure function of numbers, and whoever calls it has rounded them. Colours are CSS classes; `STYLE` gives them in light and dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
svg{--ink:#1b1f24;--soft:#59636e;--rule:#d1d9e0;--paper:#fff;--good:#0072b2;--bad:#b84e00}
svg text{font:12px system-ui,sans-serif;fill:var(--ink);paint-order:stroke;stroke:var(--paper);stroke-width:3px}
svg .small{font-size:11px;fill:var(--soft)}svg .bold{font-weight:600}
svg .grid{stroke:var(--rule);stroke-width:1}svg .line{stroke-width:2}svg .bar{stroke-width:2.5;stroke-linecap:round}
svg .thin{stroke-width:1.25;opacity:.55}svg .neutral{stroke:var(--soft);fill:var(--soft)}
svg .better{stroke:var(--good);fill:var(--good)}svg .worse{stroke:var(--bad);fill:var(--bad)}
svg .paper{fill:var(--paper)}
svg .from{fill:var(--paper);stroke-width:2}svg .unshown{stroke-dasharray:4 3}svg .to{stroke-dasharray:none}
@media (prefers-color-scheme:dark){svg{--ink:#e6edf3;--soft:#9198a1;--rule:#3d444d;--paper:#0d1117;--good:#56b4e9;--bad:#ff9a4d}}
"""
"""Blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart."""

_MARGIN = 12
CHARACTER = 6.8
"""Pixels of a character of 12-pixel type, on the broad side: nobody knows a reader's font."""
_WIDE = 0x1100
"""From here on scripts are mostly as wide as they are high."""
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Marks and the space they need, in pixels."""

    width: float
    height: float
    marks: str
    title: str
    """What it shows, for those who do not see it."""

    def svg(self, *, alone: bool = False) -> str:
        """An ``<svg>`` element; ``alone``: a file that brings its own style, paper and margins."""
        title, margin = _escaped(self.title), _MARGIN if alone else 0
        width, height = self.width + 2 * margin, self.height + 2 * margin
        place = f'x="{-margin}" y="{-margin}" width="{width:g}" height="{height:g}"'
        size = f'viewBox="{-margin} {-margin} {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        space = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
        style = f'<style>{STYLE}</style><rect {place} class="paper"/>' if alone else ""
        return f'<svg{space} {size} role="img" aria-label="{title}"><title>{title}</title>{style}{self.marks}</svg>\n'


def in_rows(drawings: Sequence[Drawing], title: str, note: str = "", columns: int = 3) -> Drawing:
    """Drawings beside and below one another, with a note under them all."""
    gap, marks, y, width = 24.0, [], 0.0, 1.0
    for start in range(0, len(drawings), columns):
        x = 0.0
        row = drawings[start : start + columns]
        for drawing in row:
            marks.append(f'<g transform="translate({x:g} {y:g})">{drawing.marks}</g>')
            x += drawing.width + gap
        width = max(width, x - gap)
        y += max(drawing.height for drawing in row) + gap
    if note:
        marks.append(text(0, y, note, "small"))
    return Drawing(
        width=width,
        height=y - gap + (30 if note else 0) if drawings else 1,
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
        step = 10.0 ** int(f"{span / 2:e}".partition("e")[2])  # no logarithm: its last bit is the machine's
        step *= next((m for m in (1, 2, 5, 10) if span / (m * step) <= 6), 10)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis that holds all values with some air."""
    return shared_axes([values], start, end)[0]


def shared_axes(
    panels: Sequence[Sequence[float]], start: float, end: float, limits: tuple[float, float] | None = None
) -> list[Axis]:
    """One axis a panel, all with as many pixels to the point, so that lengths can be compared from panel to panel.

    Args:
        panels: The values that each panel shows, one at least.
        start: Pixel of an axis' low end.
        end: Pixel of its high end.
        limits: Least and greatest possible value: no axis reaches far beyond them where it need not.
    """
    ends = [(min(values), max(values)) for values in panels]
    span = max(high - low for low, high in ends)
    air = 0.06 * span or max(0.05 * max(abs(high) for _, high in ends), 0.5)
    span += 2 * air
    axes = []
    for low, high in ends:
        first = (low + high) / 2 - span / 2
        if limits is not None:
            first = max(min(first, max(limits[1], high) + air - span), min(limits[0], low) - air)
        axes.append(Axis(first, first + span, start, end))
    return axes


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start", full: str = "") -> str:
    """One line of text; ``full``: what it says uncut, shown where a reader points at it."""
    css = f' class="{kind}"' if kind else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    title = f"<title>{_escaped(full)}</title>" if full and full != content else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{css}{place}>{title}{_escaped(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def dot(x: float, y: float, kind: str, radius: float = 4.5, title: str = "") -> str:
    """A circle."""
    head = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{kind}"'
    return f"{head}><title>{_escaped(title)}</title></circle>" if title else f"{head}/>"


def arrow(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A line with a head at its second end; where the way is too short for a head, a small dot at its end."""
    length = math.sqrt((x2 - x1) ** 2 + (y2 - y1) ** 2)
    colour = kind.replace(" unshown", "")
    if length < 14:
        return line(x1, y1, x2, y2, f"line {kind}") + dot(x2, y2, f"{colour} to", 2.5)
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    base = x2 - 9 * dx, y2 - 9 * dy
    corners = [
        (x2, y2),
        (base[0] - 4.5 * dy, base[1] + 4.5 * dx),
        (base[0] + 4.5 * dy, base[1] - 4.5 * dx),
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return f'{line(x1, y1, *base, f"line {kind}")}<polygon points="{points}" class="{colour} to"/>'


def text_width(content: str) -> float:
    """About how many pixels a line of 12-pixel type takes."""
    return CHARACTER * sum(2 if ord(character) >= _WIDE else 1 for character in content)


def shorten(content: str, width: float) -> str:
    """Text on one line, cut in its middle to about ``width`` pixels: names of models differ at either end."""
    content = " ".join(content.split())
    if text_width(content) <= width:
        return content
    head, tail = _beginning(content, 0.55 * width), _beginning(content[::-1], 0.45 * width - CHARACTER)
    return f"{head}…{tail[::-1]}"


def _beginning(content: str, width: float) -> str:
    """As many characters as fit."""
    room = width
    for position, character in enumerate(content):
        room -= text_width(character)
        if room < 0:
            return content[:position]
    return content


def _escaped(content: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", content))
