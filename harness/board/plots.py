"""The plots of a board: intervals by score, the way from baseline to candidate, and overlap against faithfulness."""

from __future__ import annotations

from harness.board.compare import ALPHA, interval_text
from harness.board.markdown import scale
from harness.board.svg import Axis, Drawing, arrow, axis, dot, line, shorten, side_by_side, text
from harness.board.table import Board, Compared, Row
from harness.metrics.suite import ScoreSummary

_WIDTH = 330.0
_ROW = 38.0
_TOP, _FOOT = 26.0, 24.0
_OVERLAP = ("rougeL", "rouge", "chrf", "meteor", "bertscore")
_FAITHFUL = ("factual_consistency", "factual_rate", "oracle_faithfulness")


def intervals(board: Board) -> list[Drawing]:
    """One drawing per column: each row's score and its 95% interval."""
    return [drawing for key in board.spec.columns if (drawing := _interval_panel(board, key)) is not None]


def arrows(board: Board) -> list[Drawing]:
    """One drawing per column: from each comparison's baseline to its candidate."""
    drawings = (_arrow_panel(board, key) for key in board.spec.columns)
    return [drawing for drawing in drawings if drawing is not None]


def tradeoff(board: Board) -> Drawing | None:
    """Overlap with the references against faithfulness to the source; None without one score of each kind."""
    columns = board.spec.columns
    across = next((key for start in _OVERLAP for key in columns if key.startswith(start)), None)
    up = next((key for start in _FAITHFUL for key in columns if key.startswith(start)), None)
    rows = [
        row
        for row in board.rows  # the references overlap with themselves
        if row.kind == "measured" and across and up and row.scores[across] and row.scores[up]
    ]
    if across is None or up is None or not rows:
        return None
    width, height, left = 520.0, 380.0, 52.0
    x = axis([v for row in rows for v in _limits(across, row.scores[across])], left, width - 16)
    y = axis([v for row in rows for v in _limits(up, row.scores[up])], height - 42, 30)
    marks = [text(0, 14, up), text(width, height - 4, across, anchor="end")]
    marks += [_tick_x(x, tick, 30, height - 42) for tick in x.ticks()]
    for tick in y.ticks():
        marks.append(line(left, y(tick), width - 16, y(tick), "grid"))
        marks.append(text(left - 6, y(tick) + 4, f"{tick:g}", "small", "end"))
    places = {row.label: (x(_value(across, row)), y(_value(up, row))) for row in rows}
    for found in board.comparisons:
        if found.baseline in places and found.candidate in places:
            kind = _kind(found, up)
            marks.append(arrow(*places[found.baseline], *places[found.candidate], kind))
    for row in rows:
        (px, py), (x1, x2), (y1, y2) = (
            places[row.label],
            _limits(across, row.scores[across]),
            _limits(up, row.scores[up]),
        )
        marks += [line(x(x1), py, x(x2), py, "bar neutral"), line(px, y(y1), px, y(y2), "bar neutral")]
        left_of = px > width * 0.66
        label = shorten(row.label, px - left if left_of else width - px)
        marks += [
            dot(px, py, "neutral"),
            text(px - 8 if left_of else px + 8, py - 8, label, "", "end" if left_of else "start"),
        ]
    title = f"{across} against {up} of {len(rows)} rows, with 95% intervals"
    return Drawing(width=width, height=height, marks="".join(marks), title=title)


def as_files(board: Board) -> dict[str, str]:
    """Name's suffix -> SVG file, of each plot that the board has."""
    drawings = {
        ".intervals.svg": intervals(board),
        ".arrows.svg": arrows(board),
        ".tradeoff.svg": [drawing for drawing in [tradeoff(board)] if drawing],
    }
    return {
        suffix: side_by_side(found, "; ".join(drawing.title for drawing in found)).svg(alone=True)
        for suffix, found in drawings.items()
        if found
    }


def _interval_panel(board: Board, key: str) -> Drawing | None:
    rows = [(row, score) for row in board.rows if (score := row.scores[key])]
    if not rows:
        return None
    x = axis([value for _, score in rows for value in _limits(key, score)], 8, _WIDTH - 8)
    bottom = _TOP + _ROW * len(rows)
    marks = [text(0, 14, key), *(_tick_x(x, tick, _TOP, bottom) for tick in x.ticks())]
    for index, (row, score) in enumerate(rows):
        y = _TOP + _ROW * index + 27
        low, high = _limits(key, score)
        marks += [
            text(8, y - 11, shorten(row.label, _WIDTH - 70), "small"),
            text(_WIDTH - 8, y - 11, f"{scale(key) * score.value:.1f}", "", "end"),
            line(x(low), y, x(high), y, "bar neutral"),
            dot(x(scale(key) * score.value), y, "neutral"),
        ]
    title = f"{key} with 95% intervals, {len(rows)} rows"
    return Drawing(width=_WIDTH, height=bottom + _FOOT, marks="".join(marks), title=title)


def _arrow_panel(board: Board, key: str) -> Drawing | None:
    rows = {row.label: row for row in board.rows if row.scores[key]}
    shown = [found for found in board.comparisons if found.baseline in rows and found.candidate in rows]
    if not shown:
        return None
    values = [_value(key, rows[label]) for found in shown for label in (found.baseline, found.candidate)]
    x = axis(values, 24, _WIDTH - 24)
    bottom = _TOP + (_ROW + 14) * len(shown)
    marks = [text(0, 14, key), *(_tick_x(x, tick, _TOP, bottom) for tick in x.ticks())]
    for index, found in enumerate(shown):
        y = _TOP + (_ROW + 14) * index + 40
        before, after = (x(_value(key, rows[label])) for label in (found.baseline, found.candidate))
        kind = _kind(found, key)
        difference = found.comparison.differences[found.comparison.keys.index(key)]
        change = f"{scale(key) * difference.delta:+.1f} ({interval_text(difference, scale(key))})"
        names = shorten(f"{found.baseline} → {found.candidate}", _WIDTH - 8)
        marks += [
            text(8, y - 25, names, "small"),
            text(8, y - 11, change, "small"),
            dot(before, y, f"from {kind.split()[0]}"),
            arrow(before, y, after, y, kind),
        ]
    title = f"{key} from baseline to candidate, {len(shown)} comparisons"
    return Drawing(width=_WIDTH, height=bottom + _FOOT, marks="".join(marks), title=title)


def _kind(found: Compared, key: str) -> str:
    """Better or worse, dashed where the difference is not shown."""
    index = found.comparison.keys.index(key)
    delta, higher = found.comparison.differences[index].delta, found.comparison.directions[index]
    kind = "neutral" if higher is None or delta == 0 else "better" if (delta > 0) == higher else "worse"
    return kind if found.comparison.adjusted_p[index] <= ALPHA else f"{kind} unshown"


def _limits(key: str, score: ScoreSummary | None) -> tuple[float, float]:
    if score is None:
        raise ValueError(f"no {key}")
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return scale(key) * low, scale(key) * high


def _value(key: str, row: Row) -> float:
    score = row.scores[key]
    if score is None:
        raise ValueError(f"{row.label} has no {key}")
    return scale(key) * score.value


def _tick_x(x: Axis, tick: float, top: float, bottom: float) -> str:
    return line(x(tick), top, x(tick), bottom, "grid") + text(
        x(tick), bottom + 15, f"{tick:g}", "small", "middle"
    )
