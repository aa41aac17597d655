"""Comparisons as the page's template is filled with them."""

from __future__ import annotations

from typing import Any

from harness.board.table import Board, Compared
from harness.board.units import DIFFERENCE_UNITS
from harness.records.compare import Matched, ScoreComparison
from harness.records.verdict import fixed, format_p, interval_text, signed, verdict
from harness.stats import Difference
from harness.stats.matched import CALIPER, Estimate

View = dict[str, Any]

_MOST_VERDICTS = 6
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


def comparisons(board: Board) -> list[View]:
    """A table for each comparison."""
    return [_comparison(found) for found in board.comparisons]


def _comparison(found: Compared) -> View:
    scores = found.comparison.scores
    several = len({score.task for score in scores}) > 1
    failures = [score.failures for score in scores if score.failures is not None]
    covariates = next((score.matched.covariates for score in scores if score.matched), ())
    return {
        "baseline": found.baseline,
        "candidate": found.candidate,
        **_verdict(found),
        "failures": bool(failures),
        "matched": " and ".join(covariates),
        "caliper": f"{CALIPER:g}",
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
            "detectable": "n/a" if least is None else fixed(score.score.scale * least),
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
                "detectable": "",
                **_matched(None, 1.0),
            }
        )
    return lines


def _difference(score: ScoreComparison, found: Difference | None, p: float) -> View:
    names = ("baseline", "candidate", "difference", "interval", "effect", "test", "p", "n", "wins")
    if found is None:
        return dict.fromkeys(names, "–")
    factor = score.score.scale
    return {
        "baseline": fixed(factor * found.baseline),
        "candidate": fixed(factor * found.candidate),
        "difference": f"{signed(factor * found.delta)} {DIFFERENCE_UNITS[score.score.unit]}",
        "interval": interval_text(found.interval, factor),
        "effect": _effect(found),
        "test": found.test,
        "p": format_p(p).removeprefix("= "),
        "n": f"{found.n:,}",
        "wins": "–" if found.wins is None else f"{found.wins:,} / {found.losses:,}",
    }


def _effect(found: Difference) -> str:
    if found.effect_size is None:
        return "n/a"
    interval = found.effect_interval
    limits = f" [{signed(interval.low, 2)}, {signed(interval.high, 2)}]" if interval is not None else ""
    return f"{signed(found.effect_size, 2)}{limits}"


def _matched(matched: Matched | None, factor: float) -> View:
    if matched is None:
        return {"adjusted": "", "pairs": ""}
    return {
        "adjusted": "" if matched.adjusted is None else _estimate(matched.adjusted, factor),
        "pairs": "too few"
        if matched.pairs is None
        else f"{_estimate(matched.pairs, factor)} (n = {matched.pairs.n:,})",
    }


def _estimate(estimate: Estimate, factor: float) -> str:
    return f"{signed(factor * estimate.delta)}, {interval_text(estimate.interval, factor)}"
