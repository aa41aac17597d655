"""The plots as the page shows them: a caption, what is left out, and the drawings."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from harness.board.plots import arrows, intervals, left_out
from harness.board.table import Board
from harness.board.tradeoff import tradeoff


def figures(board: Board) -> list[dict[str, Any]]:
    """Figures in reading order; none without drawings."""
    missing = left_out(board)
    found = (
        (
            "intervals",
            "Scores with 95% intervals",
            "Panels of one unit have as many pixels to the point.",
            intervals(board),
        ),
        ("arrows", "From baseline to candidate", "Arrows of one unit are drawn to one scale.", arrows(board)),
        (
            "tradeoff",
            "Overlap with references against faithfulness",
            "",
            tradeoff(board),
        ),
    )
    return [
        {
            "id": name,
            "caption": caption,
            "note": " ".join(filter(None, (note, missing.get(name)))),
            # svg.py escapes every text that it draws
            "drawings": [Markup(drawing.svg()) for drawing in drawings],  # noqa: S704
        }
        for name, caption, note, drawings in found
        if drawings
    ]
