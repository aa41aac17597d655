"""Overlap with the references against faithfulness to the source, and where its labels go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from harness.board.columns import Column
from harness.board.svg import Axis, Drawing, arrow, axis, dot, line, shorten, text, text_width
from harness.board.table import Board, Row
from harness.board.units import UNITS, limits, value
from harness.metrics.suite import ScoreSummary

_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 34.0, 46.0
_LABEL, _TYPE = 170.0, 12.0
_FEW = 30
"""Above this many rows intervals would hide the dots, and the plot is larger."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def within(self, other: Box) -> bool:
        """Whether it lies in the other."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def tradeoff(board: Board) -> list[Drawing]:
    """One drawing for each task that has a score of each kind."""
    drawings = (_panel(board, task) for task in board.tasks)
    return [drawing for drawing in drawings if drawing is not None]


def _panel(board: Board, task: str) -> Drawing | None:
    across, up = (_first(board, task, kind) for kind in ("overlap", "faithfulness"))
    if across is None or up is None:
        return None
    rows = [
        (row, x, y)
        for row in board.rows
        if row.kind != "gold" and (x := row.scores[across.name]) and (y := row.scores[up.name])
    ]  # the references overlap with themselves
    return _drawn(board, (across, up), rows) if rows else None


def _first(board: Board, task: str, kind: str) -> Column | None:
    return next(
        (column for column in board.columns if column.task == task and column.score.kind == kind), None
    )


def _drawn(
    board: Board, columns: tuple[Column, Column], rows: Sequence[tuple[Row, ScoreSummary, ScoreSummary]]
) -> Drawing:
    across, up = columns
    few = len(rows) <= _FEW
    width, height = (540.0, 400.0) if few else (820.0, 600.0)
    x = axis(
        [end for _, score, _ in rows for end in _ends(across, score, few)], _LEFT + 8, width - _RIGHT - 8
    )
    y = axis([end for _, _, score in rows for end in _ends(up, score, few)], height - _BOTTOM - 8, _TOP + 8)
    places = {row.label: (x(value(across, a.value)), y(value(up, b.value))) for row, a, b in rows}
    marks = _frame(across, up, x, y, width, height)
    if few:
        marks += [
            mark
            for row, a, b in rows
            for mark in _cross(x, y, places[row.label], limits(across, a), limits(up, b))
        ]
        marks += [
            arrow(*_to_the_edge(places[found.baseline], places[found.candidate]), "thin neutral")
            for found in board.comparisons
            if found.baseline in places and found.candidate in places
        ]
    marks += [dot(*place, "neutral", title=label) for label, place in places.items()]
    labels = place_labels(list(places.items()), Box(_LEFT, _TOP - 6, width, height - _BOTTOM))
    said = ["Lines: 95% intervals."] if few else []
    if len(labels) < len(places):
        said.append(f"{len(places) - len(labels)} dots without room for a name.")
    marks += [*labels, text(_LEFT, height - 6, " ".join(said), "small")]
    title = f"{across.name} against {up.name} of {len(rows)} rows" + (", with 95% intervals" if few else "")
    return Drawing(width=width, height=height, marks="".join(marks), title=title)


def _to_the_edge(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float, float, float]:
    """A way that ends at the edge of a dot, so that an arrow's head is seen."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = sqrt(dx * dx + dy * dy)
    part = max(length - 6, 0) / length if length else 0.0
    return *start, start[0] + part * dx, start[1] + part * dy


def _ends(column: Column, score: ScoreSummary, few: bool) -> tuple[float, float]:
    return limits(column, score) if few else (value(column, score.value),) * 2


def _cross(
    x: Axis, y: Axis, place: tuple[float, float], across: tuple[float, float], up: tuple[float, float]
) -> list[str]:
    """Both intervals of a dot."""
    px, py = place
    return [
        line(x(across[0]), py, x(across[1]), py, "bar thin neutral"),
        line(px, y(up[0]), px, y(up[1]), "bar thin neutral"),
    ]


def _frame(across: Column, up: Column, x: Axis, y: Axis, width: float, height: float) -> list[str]:
    floor, right = height - _BOTTOM, width - _RIGHT
    marks = [
        text(0, 14, _named(up), "bold", full=up.name),
        text(right, height - 6, _named(across), "bold", "end", full=across.name),
    ]
    for tick in x.ticks():
        marks.append(line(x(tick), _TOP, x(tick), floor, "grid"))
        marks.append(text(x(tick), floor + 15, f"{tick:g}", "small", "middle"))
    for tick in y.ticks():
        marks.append(line(_LEFT, y(tick), right, y(tick), "grid"))
        marks.append(text(_LEFT - 6, y(tick) + 4, f"{tick:g}", "small", "end"))
    return marks


def _named(column: Column) -> str:
    return f"{shorten(column.name, 230)} ({UNITS[column.score.unit]})"


def place_labels(dots: Sequence[tuple[str, tuple[float, float]]], frame: Box) -> list[str]:
    """Labels beside their dots, none over a dot or another label; those without room are left out.

    Each dot in turn takes the first free place of those around it, so the result depends on the order alone.
    """
    taken = [Box(px - 6, py - 6, px + 6, py + 6) for _, (px, py) in dots]
    labels = []
    for full, place in dots:
        label = shorten(full, _LABEL)
        for x, base, anchor in _around(*place):
            box = _box(x, base, text_width(label), anchor)
            if box.within(frame) and not any(box.meets(other) for other in taken):
                taken.append(box)
                labels.append(text(x, base, label, "", anchor, full))
                break
    return labels


def _around(px: float, py: float) -> list[tuple[float, float, str]]:
    """Where a label's base line may start, end or have its middle: right, left, above and below a dot, then farther off."""
    sides = [(8, "start"), (-8, "end")]
    rows = (4, -8, 17, -20, 29)
    beside = [(px + x, py + y, anchor) for y in rows for x, anchor in sides]
    return [*beside[:6], (px, py - 10, "middle"), (px, py + 20, "middle"), *beside[6:]]


def _box(x: float, base: float, width: float, anchor: str) -> Box:
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
    return Box(left, base - _TYPE, left + width, base + 3)
