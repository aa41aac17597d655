"""How ``train-kd --then-eval`` ends: the verdict, a short table, and where the page is."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from harness.board import Board, Row, read_board
from harness.records.verdict import fixed, verdict

_COLUMNS = 3
"""Scores in the table; the page has all."""


def closing(board: Path, models: Collection[str]) -> str:
    """What a study found, for a terminal.

    Args:
        board: Its markdown.
        models: Labels of the study's own models, among others that the board may have.
    """
    read = read_board(board.with_suffix(".json"))
    found = [one for one in read.comparisons if one.candidate in models]
    lines = [verdict(one.comparison, one.baseline, one.candidate) for one in found]
    lines += [disagreement.sentence() for one in found for disagreement in one.comparison.disagreements()]
    table = _table(read, [row for row in read.rows if row.label in models])
    return "\n\n".join(["\n".join(lines), table, f"Page: {board.with_suffix('.html')}"])


def _table(board: Board, rows: Collection[Row]) -> str:
    """Models by their first scores, with the interval of the first; as on the board, the best first."""
    columns = board.columns[:_COLUMNS]
    cells = [["model", *(column.name for column in columns)]]
    for row in rows:
        cells.append([row.label])
        for number, column in enumerate(columns):
            score, factor = row.scores[column.name], column.score.scale
            shown = "-" if score is None else fixed(factor * score.value)
            if number == 0 and score is not None and score.low is not None and score.high is not None:
                shown += f" [{fixed(factor * score.low)}, {fixed(factor * score.high)}]"
            cells[-1].append(shown)
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns) + 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
