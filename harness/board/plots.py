"""The plots of a board: intervals by score, the way from baseline to candidate, and overlap against faithfulness.

Every number is rounded before it becomes a coordinate, so that all machines draw the same characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.board.columns import Column
from harness.board.svg import Axis, Drawing, arrow, dot, in_rows, line, shared_axes, shorten, text, text_width
from harness.board.table import Board, Compared, Row
from harness.board.tradeoff import tradeoff
from harness.board.units import DIFFERENCE_UNITS, UNITS, limits, value
from harness.metrics.suite import ScoreSummary
from harness.records.compare import ScoreComparison
from harness.records.verdict import fixed, interval_text, signed

MOST_ROWS = 30
"""Rows and comparisons that a plot shows; the table has all of them."""
LEGEND = "Blue: better. Orange: worse. Dashed: no difference shown."
_WIDTH = 350.0
_ROW, _TALL_ROW = 38.0, 52.0
_TOP, _FOOT = 26.0, 24.0

Panel = tuple[Column, Sequence[tuple[Row, ScoreSummary]]]


def intervals(board: Board) -> list[Drawing]:
    """One drawing per column: each row's score and its 95% interval."""
    rows = board.rows[:MOST_ROWS]
    panels: list[Panel] = [
        (column, [(row, score) for row in rows if (score := row.scores[column.name])])
        for column in board.columns
    ]
    panels = [panel for panel in panels if panel[1]]
    axes = _axes(
        {column: [end for _, score in shown for end in limits(column, score)] for column, shown in panels}
    )
    return [_interval_panel(column, shown, axes[column.name]) for column, shown in panels]


def arrows(board: Board) -> list[Drawing]:
    """One drawing per column: from each comparison's baseline to its candidate, as long as the difference is large."""
    shown = board.comparisons[:MOST_ROWS]
    panels = {column: _moved(shown, column) for column in board.columns}
    panels = {column: moved for column, moved in panels.items() if moved}
    axes = _axes(
        {
            column: [value(column, end) for _, found in moved for end in _ends(found)]
            for column, moved in panels.items()
        }
    )
    return [_arrow_panel(column, moved, axes[column.name]) for column, moved in panels.items()]


def left_out(board: Board) -> dict[str, str]:
    """By plot, what it does not show; no entry where it shows everything."""
    found = {}
    if len(board.rows) > MOST_ROWS:
        found["intervals"] = f"The first {MOST_ROWS} of {len(board.rows)} rows."
    if len(board.comparisons) > MOST_ROWS:
        found["arrows"] = f"The first {MOST_ROWS} of {len(board.comparisons)} comparisons."
    return found


def as_files(board: Board) -> dict[str, str]:
    """Name's suffix -> SVG file, of each plot that the board has."""
    missing = left_out(board)
    drawings = {
        "intervals": (intervals(board), ""),
        "arrows": (arrows(board), LEGEND),
        "tradeoff": (tradeoff(board), ""),
    }
    return {
        f".{name}.svg": in_rows(
            found,
            "; ".join(drawing.title for drawing in found),
            note=" ".join(filter(None, (note, missing.get(name)))),
            columns=2 if name == "tradeoff" else 3,
        ).svg(alone=True)
        for name, (found, note) in drawings.items()
        if found
    }


def _axes(values: Mapping[Column, Sequence[float]]) -> dict[str, Axis]:
    """By the name of the column: those of one unit have as many pixels to the point."""
    found: dict[str, Axis] = {}
    for unit in dict.fromkeys(DIFFERENCE_UNITS[column.score.unit] for column in values):
        columns = [column for column in values if DIFFERENCE_UNITS[column.score.unit] == unit]
        bounds = (0.0, 100.0) if unit == "points" else None
        axes = shared_axes([values[column] for column in columns], 8, _WIDTH - 8, bounds)
        found |= {column.name: axis for column, axis in zip(columns, axes, strict=True)}
    return found


def _interval_panel(column: Column, rows: Sequence[tuple[Row, ScoreSummary]], x: Axis) -> Drawing:
    bottom = _TOP + _ROW * len(rows)
    marks = [*_title(column), *(tick_x(x, tick, _TOP, bottom) for tick in x.ticks())]
    for index, (row, score) in enumerate(rows):
        y = _TOP + _ROW * index + 27
        low, high = (x(end) for end in limits(column, score))
        marks += [
            text(8, y - 11, shorten(row.label, _WIDTH - 80), "small", full=row.label),
            text(_WIDTH - 8, y - 11, fixed(column.score.scale * score.value), "", "end"),
            line(low, y, high, y, "bar neutral"),
            dot(x(value(column, score.value)), y, "neutral"),
        ]
    title = f"{column.name} with 95% intervals, {len(rows)} rows"
    return Drawing(width=_WIDTH, height=bottom + _FOOT, marks="".join(marks), title=title)


def _moved(comparisons: Sequence[Compared], column: Column) -> list[tuple[Compared, ScoreComparison]]:
    """The comparisons that have a difference in a column."""
    return [
        (compared, found)
        for compared in comparisons
        for found in compared.comparison.scores
        if (found.task, found.key) == (column.task, column.key) and found.difference is not None
    ]


def _ends(found: ScoreComparison) -> tuple[float, float]:
    if found.difference is None:
        raise ValueError(f"no difference in {found.key}")
    return found.difference.baseline, found.difference.candidate


def _arrow_panel(column: Column, moved: Sequence[tuple[Compared, ScoreComparison]], x: Axis) -> Drawing:
    bottom = _TOP + _TALL_ROW * len(moved)
    marks = [*_title(column), *(tick_x(x, tick, _TOP, bottom) for tick in x.ticks())]
    for index, (compared, found) in enumerate(moved):
        y = _TOP + _TALL_ROW * index + 40
        before, after = (x(value(column, end)) for end in _ends(found))
        names = f"{compared.baseline} → {compared.candidate}"
        colour = direction(found)
        marks += [
            text(8, y - 25, _names(compared, _WIDTH - 16), "small", full=names),
            text(8, y - 11, _change(column, found), "small"),
            dot(before, y, f"from {colour.split()[0]}"),
            arrow(before, y, after, y, colour),
        ]
    title = f"{column.name} from baseline to candidate, {len(moved)} comparisons"
    return Drawing(width=_WIDTH, height=bottom + _FOOT, marks="".join(marks), title=title)


def _names(compared: Compared, width: float) -> str:
    """Both names, the shorter one uncut if it takes less than half of the room."""
    arrow_width = text_width(" → ")
    names = compared.baseline, compared.candidate
    widths = [text_width(" ".join(name.split())) for name in names]
    half = (width - arrow_width) / 2
    room = [max(half, 2 * half - other) for other in reversed(widths)]
    return " → ".join(shorten(name, space) for name, space in zip(names, room, strict=True))


def _change(column: Column, found: ScoreComparison) -> str:
    if found.difference is None:
        return ""
    unit, scale = DIFFERENCE_UNITS[column.score.unit], column.score.scale
    return (
        f"{signed(scale * found.difference.delta)} {unit} ({interval_text(found.difference.interval, scale)})"
    )


def direction(found: ScoreComparison) -> str:
    """CSS classes of a difference: better or worse, dashed where it is not shown."""
    delta = value(found, found.difference.delta) if found.difference else 0.0
    higher = found.score.higher_is_better
    kind = "neutral" if higher is None or delta == 0 else "better" if (delta > 0) == higher else "worse"
    return kind if found.shown() else f"{kind} unshown"


def _title(column: Column) -> list[str]:
    unit = UNITS[column.score.unit]
    name = shorten(column.name, _WIDTH - 70)
    return [text(0, 14, name, "bold", full=column.name), text(_WIDTH, 14, unit, "small", "end")]


def tick_x(x: Axis, tick: float, top: float, bottom: float) -> str:
    """A line across the panel at a value, and the value under it."""
    return line(x(tick), top, x(tick), bottom, "grid") + text(
        x(tick), bottom + 15, f"{tick:g}", "small", "middle"
    )
