"""Overlap with the references against faithfulness to the source, and where its labels go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.board.svg import Axis, Drawing, arrow, dot, line, shared_axes, shorten, text, text_width
from harness.board.table import Board, Column, Row
from harness.board.units import UNITS, limits, value
from harness.metrics.suite import ScoreSummary

_WIDTH, _HEIGHT = 540.0, 400.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 34.0, 46.0
_LABEL, _TYPE = 170.0, 12.0
_FEW = 30
"""Above this many rows intervals would hide the dots."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

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
    (x,) = shared_axes(
        [[end for _, score, _ in rows for end in _ends(across, score, few)]], _LEFT + 8, _WIDTH - _RIGHT - 8
    )
    (y,) = shared_axes(
        [[end for _, _, score in rows for end in _ends(up, score, few)]], _HEIGHT - _BOTTOM - 8, _TOP + 8
    )
    places = {row.label: (x(value(across, a.value)), y(value(up, b.value))) for row, a, b in rows}
    marks = _frame(across, up, x, y)
    if few:
        for row, a, b in rows:
            px, py = places[row.label]
            (x1, x2), (y1, y2) = limits(across, a), limits(up, b)
            marks += [
                line(x(x1), py, x(x2), py, "bar thin neutral"),
                line(px, y(y1), px, y(y2), "bar thin neutral"),
            ]
    for found in board.comparisons if few else ():
        if found.baseline in places and found.candidate in places:
            marks.append(arrow(*places[found.baseline], *places[found.candidate], "neutral thin"))
    marks += [dot(*place, "neutral", title=label) for label, place in places.items()]
    labels = place_labels(list(places.items()), Box(_LEFT, _TOP - 6, _WIDTH, _HEIGHT - _BOTTOM))
    marks += labels
    unnamed = len(places) - len(labels)
    if unnamed:
        marks.append(text(_LEFT, _HEIGHT - 4, f"{unnamed} dots without room for a name", "small"))
    title = f"{across.name} against {up.name} of {len(rows)} rows" + (", with 95% intervals" if few else "")
    return Drawing(width=_WIDTH, height=_HEIGHT, marks="".join(marks), title=title)


def _ends(column: Column, score: ScoreSummary, few: bool) -> tuple[float, float]:
    return limits(column, score) if few else (value(column, score.value),) * 2


def _frame(across: Column, up: Column, x: Axis, y: Axis) -> list[str]:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    marks = [
        text(0, 14, _named(up), "bold", full=up.name),
        text(right, _HEIGHT - 6, _named(across), "bold", "end", full=across.name),
    ]
    for tick in x.ticks():
        marks.append(line(x(tick), _TOP, x(tick), floor, "grid"))
        marks.append(text(x(tick), floor + 15, f"{tick:g}", "small", "middle"))
    for tick in y.ticks():
        marks.append(line(_LEFT, y(tick), right, y(tick), "grid"))
        marks.append(text(_LEFT - 6, y(tick) + 4, f"{tick:g}", "small", "end"))
    return marks


def _named(column: Column) -> str:
    return f"{shorten(column.name, 300)} ({UNITS[column.score.unit]})"


def place_labels(dots: Sequence[tuple[str, tuple[float, float]]], frame: Box) -> list[str]:
    """Labels beside their dots, none over a dot or another label; those without room are left out.

    Each dot in turn takes the first free place of those around it, so the result depends on the order alone.
    """
    taken = [Box(px - 6, py - 6, px + 6, py + 6) for _, (px, py) in dots]
    labels = []
    for full, (px, py) in dots:
        label = shorten(full, _LABEL)
        for left, base in _around(px, py, text_width(label)):
            box = Box(left, base - _TYPE, left + text_width(label), base + 3)
            inside = frame.left <= box.left and box.right <= frame.right
            inside = inside and frame.top <= box.top and box.bottom <= frame.bottom
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                labels.append(text(left, base, label, full=full))
                break
    return labels


def _around(px: float, py: float, width: float) -> list[tuple[float, float]]:
    """Left ends of base lines around a dot: right, left, above and below, then somewhat farther off."""
    near = [
        (px + 8, py + 4),
        (px - 8 - width, py + 4),
        (px + 6, py - 8),
        (px - 6 - width, py - 8),
        (px + 6, py + 17),
        (px - 6 - width, py + 17),
        (px - width / 2, py - 10),
        (px - width / 2, py + 20),
    ]
    return [*near, (px + 8, py - 20), (px - 8 - width, py - 20), (px + 8, py + 29), (px - 8 - width, py + 29)]
