"""Whether the difference between two records on the same documents is real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.metrics.suite import ScoreSummary, statistics_of
from harness.records import Record
from harness.records.headlines import scorer_of, values_of
from harness.stats import Difference, compare_means, compare_rates, compare_statistics, holm

ALPHA = 0.05
_MUST_AGREE = ("documents_sha256", "prompts_sha256", "decoding")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidate against baseline on each key, Holm-corrected over the keys."""

    keys: tuple[str, ...]
    differences: tuple[Difference, ...]
    adjusted_p: tuple[float, ...]

    def verdict(self, baseline: str, candidate: str, percent: bool = True) -> str:
        """One plain sentence on the first key."""
        key, found, p = self.keys[0], self.differences[0], self.adjusted_p[0]
        scale = 100 if percent else 1
        change = f"{scale * found.delta:+.1f} points, 95% interval {interval_text(found, scale)}"
        tested = f"{found.test}, p {format_p(p)} after Holm over {len(self.keys)} scores, n = {found.n}"
        if p <= ALPHA:
            better = "higher" if found.delta > 0 else "lower"
            return f"{candidate} is {better} than {baseline} on {key}: {change} ({tested})."
        least = f"this comparison could have found {scale * found.detectable():.1f} points in 4 of 5 cases"
        return (
            f"No difference shown between {candidate} and {baseline} on {key}: {change} ({tested}); {least}."
        )


def interval_text(found: Difference, scale: float) -> str:
    """The interval of a difference, signed."""
    return f"{scale * found.interval.low:+.1f} to {scale * found.interval.high:+.1f}"


def format_p(p: float) -> str:
    """A p-value as printed after the letter p."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}"


def compare(baseline: Record, candidate: Record, keys: Sequence[str]) -> Comparison:
    """Paired tests on the documents that both answered: McNemar for rates, paired bootstrap otherwise.

    Raises:
        HarnessError: If the records are of different tasks, documents, prompts or decoding; it names the difference.
    """
    problems = [
        f"{what} differ: {baseline.provenance.get(what)} and {candidate.provenance.get(what)}"
        for what in _MUST_AGREE
        if baseline.provenance.get(what) != candidate.provenance.get(what)
    ]
    if (baseline.task, baseline.task_version) != (candidate.task, candidate.task_version):
        problems.insert(
            0,
            f"tasks differ: {baseline.task} {baseline.task_version}, {candidate.task} {candidate.task_version}",
        )
    HarnessError.raise_for(problems, "Compare runs of one task on the same documents, prompts and decoding.")
    differences = [_difference(baseline, candidate, key) for key in keys]
    adjusted = holm([difference.p_value for difference in differences])
    return Comparison(keys=tuple(keys), differences=tuple(differences), adjusted_p=tuple(adjusted))


def _difference(baseline: Record, candidate: Record, key: str) -> Difference:
    before, after = values_of(baseline, key), values_of(candidate, key)
    shared = sorted(set(before) & set(after))
    if not shared:
        raise HarnessError(
            f"no document has {key} in both records", "Choose a score that both runs computed."
        )
    if scorer := scorer_of(baseline, key):
        return compare_statistics(
            statistics_of(before[d] for d in shared), statistics_of(after[d] for d in shared), scorer
        )
    columns = [before[d] for d in shared], [after[d] for d in shared]
    is_rate = all(value in (0.0, 1.0) for column in columns for value in column)
    return (compare_rates if is_rate else compare_means)(*columns)


def overlaps(a: ScoreSummary, b: ScoreSummary) -> bool:
    """Whether two intervals overlap; an unknown one overlaps everything."""
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return True
    return a.low <= b.high and b.low <= a.high
