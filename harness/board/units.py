"""Scores as they are printed and drawn: in percent, points, words, slots or items, rounded first."""

from __future__ import annotations

from typing import Protocol

from harness.metrics.base import COUNTS, Score
from harness.metrics.suite import ScoreSummary
from harness.stats.rounding import rounded

_COUNTS = {str(unit): str(unit) for unit in COUNTS}
UNITS = {"share": "%", "of 100": "of 100", "points": "points", **_COUNTS}
"""What a printed score is in."""
DIFFERENCE_UNITS = {"share": "points", "of 100": "points", "points": "points of the scale", **_COUNTS}
"""What a printed difference is in."""


class _Has(Protocol):
    @property
    def score(self) -> Score: ...


def value(of: _Has, number: float) -> float:
    """A score or difference as drawn: in the printed unit, and rounded."""
    return rounded(of.score.scale * number)


def limits(of: _Has, score: ScoreSummary) -> tuple[float, float]:
    """The ends of a score's interval as drawn; its value twice where it has none."""
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return value(of, low), value(of, high)
