"""A comparison in words. Numbers are rounded to what is far above any processor's last bits before they are printed."""

from __future__ import annotations

from harness.metrics.base import COUNTS
from harness.records.compare import ALPHA, Comparison, ScoreComparison
from harness.stats import FEWEST_FOR_VERDICT, Difference
from harness.stats.bootstrap import Interval
from harness.stats.rounding import rounded


def fixed(value: float, digits: int = 1) -> str:
    """A number with that many decimals; never minus nought."""
    text = f"{rounded(value):.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def least_text(value: float) -> str:
    """A detectable difference: one decimal, or as many as it takes not to be nought."""
    return fixed(value) if value >= 0.05 else f"{rounded(value):.1g}"


def signed(value: float, digits: int = 1) -> str:
    """The same with its sign."""
    text = fixed(value, digits)
    return text if text.startswith("-") else f"+{text}"


def interval_text(interval: Interval | None, scale: float, digits: int = 1) -> str:
    """The interval of a difference, signed."""
    if interval is None:
        return "n/a"
    return f"{signed(scale * interval.low, digits)} to {signed(scale * interval.high, digits)}"


def format_p(p: float) -> str:
    """A p-value as printed after the letter p."""
    return "< 0.0001" if rounded(p) < 1e-4 else f"= {fixed(p, 4)}"


def verdict(comparison: Comparison, baseline: str, candidate: str) -> str:
    """One or two plain sentences on the first score."""
    if not comparison.scores:
        return f"{candidate} and {baseline} share no score to compare."
    first = comparison.scores[0]
    where = f" in {first.task}" if len({found.task for found in comparison.scores}) > 1 else ""
    found = _Words(first, f"{first.key}{where}", len(comparison.scores), baseline, candidate)
    return " ".join(filter(None, (found.main(), found.failures(), found.evidence())))


class _Words:
    """The sentences of one score."""

    def __init__(self, found: ScoreComparison, name: str, scores: int, baseline: str, candidate: str) -> None:
        self.found, self.name, self.scores = found, name, scores
        self.baseline, self.candidate = baseline, candidate
        self.unit = f" {found.score.unit}" if found.score.unit in COUNTS else " points"

    def main(self) -> str:
        difference = self.found.difference
        if difference is None:
            return f"{self.candidate} and {self.baseline} answered no document in common."
        if difference.n < FEWEST_FOR_VERDICT:
            return (
                f"Too few documents for a verdict between {self.candidate} and {self.baseline} on {self.name}: "
                f"n = {difference.n}, and at least {FEWEST_FOR_VERDICT} are needed."
            )
        said = f"{self._change(difference)} ({self._test(difference, self.found.p_holm)}, n = {difference.n})"
        if self.found.shown():
            return f"{self.candidate} is {self._word()} than {self.baseline} on {self.name}: {said}."
        if self.found.p_holm <= ALPHA:
            return (
                f"No difference shown between {self.candidate} and {self.baseline} on {self.name}: on the documents that "
                f"both answered it is {said}, but it does not hold on all documents."
            )
        return f"No difference shown between {self.candidate} and {self.baseline} on {self.name}: {said}; {self._least()}."

    def failures(self) -> str:
        """Who failed where, and what that makes of the difference."""
        failures = self.found.failures
        if failures is None:
            return ""
        counts = (
            f"They answered different documents: {self.baseline} failed on {failures.failed[0]} and {self.candidate} on "
            f"{failures.failed[1]} of {self.found.n}"
        )
        difference = failures.difference
        if difference is None:
            return f"{counts}."
        tested = self._test(difference, failures.p_holm)
        return f"{counts}; with failures counted as failures the difference is {self._change(difference)} ({tested})."

    def evidence(self) -> str:
        """That the score is no evidence, where it is none."""
        reason = self.found.no_evidence
        return f"This is no evidence: {self.found.key} is {reason}." if reason else ""

    def _change(self, difference: Difference) -> str:
        scale = self.found.score.scale
        return f"{signed(scale * difference.delta)}{self.unit}, 95% interval {interval_text(difference.interval, scale)}"

    def _test(self, difference: Difference, p: float) -> str:
        tests = self.found.tests
        return f"{difference.test}, p {format_p(p)} after Holm over {tests} test{'s' if tests > 1 else ''}"

    def _least(self) -> str:
        least, difference = self.found.detectable, self.found.difference
        if least is not None:
            return f"this comparison could have found {least_text(self.found.score.scale * least)}{self.unit} in 4 of 5 cases"
        if difference is None or difference.differing == 0:
            return "the two never differ"
        return (
            f"they differ on {difference.differing} of {difference.n} documents, too few to show a difference"
        )

    def _word(self) -> str:
        delta = self.found.difference.delta if self.found.difference else 0.0
        if self.found.score.higher_is_better is None:
            return "higher" if delta > 0 else "lower"
        return "better" if (delta > 0) == self.found.score.higher_is_better else "worse"
