"""Comparisons as the page's template is filled with them."""

from __future__ import annotations

from typing import Any

from harness.board.table import Board, Compared
from harness.board.units import DIFFERENCE_UNITS
from harness.records.compare import Matched, ScoreComparison
from harness.records.verdict import fixed, format_p, interval_text, least_text, signed, verdict
from harness.stats import Difference
from harness.stats.matched import CALIPER, Estimate

View = dict[str, Any]

_MOST_VERDICTS = 4
"""Verdicts at the head of the page; the others stand with their tables."""


def verdicts(board: Board) -> View:
    """The first comparisons' verdicts and warnings, and how many more there are."""
    shown = [_verdict(found) for found in board.comparisons[:_MOST_VERDICTS]]
    return {"shown": shown, "more": len(board.comparisons) - len(shown)}


def _verdict(found: Compared) -> View:
    return {
        "verdict": verdict(found.comparison, found.baseline, found.candidate),
        "warnings": [disagreement.sentence() for disagreement in found.comparison.disagreements()],
    }


def reading(board: Board) -> list[str]:
    """How to read the comparisons' tables, in sentences."""
    scores = [score for found in board.comparisons for score in found.comparison.scores]
    said = [
        "n: the documents that both answered.",
        "Detectable: the smallest true difference found in 4 of 5 cases at this n, at the level of Holm's first step.",
    ]
    if any(score.failures for score in scores):
        said.append(
            "Failures counted: on all documents, a failed one as the worst score; the counts are of baseline and candidate."
        )
    if covariates := next((score.matched.covariates for score in scores if score.matched), ()):
        said.append(
            f"At equal style: the difference at equal {' and '.join(covariates)}, by regression over all pairs. "
            f"Like pairs: over the documents whose two responses are within {CALIPER:g} standard deviations in each."
        )
    return said


def comparisons(board: Board) -> list[View]:
    """A table for each comparison."""
    return [_comparison(found) for found in board.comparisons]


def _comparison(found: Compared) -> View:
    scores = found.comparison.scores
    several = len({score.task for score in scores}) > 1
    return {
        "baseline": found.baseline,
        "candidate": found.candidate,
        **_verdict(found),
        "matched": any(score.matched for score in scores),
        "lines": [line for score in scores for line in _lines(score, several)],
        "absent": [f"{task}/{key}" if several else key for task, key in found.comparison.absent],
    }


def _lines(score: ScoreComparison, several: bool) -> list[View]:
    """One line on the documents that both answered, and one with failures counted where there are any."""
    name = f"{score.task}/{score.key}" if several else score.key
    least = score.detectable
    lines = [
        {
            "name": name,
            "counted": "",
            **_difference(score, score.difference, score.p_holm),
            "detectable": "n/a" if least is None else least_text(score.score.scale * least),
            **_matched(score.matched, score.score.scale),
        }
    ]
    if score.failures is not None:
        baseline, candidate = score.failures.failed
        lines.append(
            {
                "name": name,
                "counted": f"failures counted: {baseline:,} and {candidate:,} of {score.n:,}",
                **_difference(score, score.failures.difference, score.failures.p_holm),
                "detectable": "–",
                **_matched(None, 1.0),
            }
        )
    return lines


def _difference(score: ScoreComparison, found: Difference | None, p: float) -> View:
    if found is None:
        names = ("baseline", "candidate", "p", "n", "wins")
        return dict.fromkeys(names, "–") | {"test": "", "difference": _shown("–"), "effect": _shown("–")}
    factor = score.score.scale
    unit = DIFFERENCE_UNITS[score.score.unit]
    return {
        "baseline": fixed(factor * found.baseline),
        "candidate": fixed(factor * found.candidate),
        "difference": _shown(f"{signed(factor * found.delta)} {unit}", interval_text(found.interval, factor)),
        "effect": _effect(found),
        "test": found.test,
        "p": format_p(p).removeprefix("= "),
        "n": f"{found.n:,}",
        "wins": "–" if found.wins is None else f"{found.wins:,} / {found.losses:,}",
    }


def _shown(value: str, interval: str = "") -> View:
    return {"value": value, "interval": interval}


def _effect(found: Difference) -> View:
    if found.effect_size is None:
        return _shown("n/a")
    return _shown(signed(found.effect_size, 2), interval_text(found.effect_interval, 1.0, 2))


def _matched(matched: Matched | None, factor: float) -> View:
    if matched is None:
        return {"adjusted": _shown("–"), "pairs": _shown("–")}
    return {
        "adjusted": _estimate(matched.adjusted, factor),
        "pairs": _shown("too few")
        if matched.pairs is None
        else _estimate(matched.pairs, factor, counted=True),
    }


def _estimate(estimate: Estimate | None, factor: float, *, counted: bool = False) -> View:
    if estimate is None:
        return _shown("n/a")
    interval = interval_text(estimate.interval, factor)
    return _shown(signed(factor * estimate.delta), f"{interval} ({estimate.n:,})" if counted else interval)
