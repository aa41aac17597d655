"""Whether the difference between two models on the same documents is real, and whether it is one of style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.metrics import answers
from harness.metrics.base import Score
from harness.records.described import describe, in_order
from harness.records.evidence import no_evidence
from harness.records.failures import answered_nothing, filled_statistics, filled_values
from harness.records.headlines import scorer_of
from harness.records.record import Header, Scored
from harness.stats import Difference, compare_means, compare_rates, compare_statistics, holm
from harness.stats.bootstrap import FloatArray
from harness.stats.matched import Estimate, adjusted_mean, matched_mean, matched_pairs

ALPHA = 0.05
STYLE = ("length", "density")
"""What matched differences hold equal, as logarithms: words, and how long the copied fragments are."""
_MUST_AGREE = {
    "documents_sha256": "documents",
    "prompts_sha256": "prompts",
    "decoding": "decoding",
    "limit": "limits",
}

Task = str
Key = str


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What is left of a difference at equal length and extractiveness; for a corpus score, of the mean of sentence scores."""

    adjusted: Estimate | None
    """All documents, by regression."""
    pairs: Estimate | None
    """Only documents whose two responses are alike."""
    covariates: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WithFailures:
    """The comparison on all documents, where the two models failed on different ones."""

    failed: tuple[int, int]
    """Documents without the score: of the baseline, of the candidate."""
    difference: Difference | None
    """With failures as the worst score; None where that is not defined (docs/statistics.md)."""
    p_holm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ScoreComparison:
    """Candidate against baseline on one score of one task."""

    task: Task
    key: Key
    score: Score
    n: int
    """Documents of the task."""
    difference: Difference | None
    """On the documents that both answered; None if there are none."""
    p_holm: float
    """Corrected over all tests of the comparison."""
    failures: WithFailures | None
    """None where both answered the same documents."""
    matched: Matched | None
    """None where the records have no length, or the score is itself one of style."""
    tests: int
    """Tests that Holm's correction is over."""
    no_evidence: str | None = None
    """Why the score says nothing of faithfulness, whatever its difference; see `harness.records.evidence`."""

    @property
    def detectable(self) -> float | None:
        """Smallest true difference that this comparison finds in 4 of 5 cases, whatever the other scores do.

        At alpha over the number of tests, the level of Holm's first step; None where the responses never differ.
        """
        return None if self.difference is None else self.difference.detectable(alpha=ALPHA / self.tests)

    @property
    def deciding(self) -> tuple[Difference | None, float]:
        """The test that a verdict needs besides `difference`: with failures, where there are any."""
        if self.failures is None or self.failures.difference is None:
            return self.difference, self.p_holm
        return self.failures.difference, self.failures.p_holm

    def shown(self) -> bool:
        """Whether a difference is shown: in every way that failures can be looked at."""
        tests = [(self.difference, self.p_holm), self.deciding]
        deltas = [found.delta for found, _ in tests if found is not None]
        return (
            bool(deltas)
            and all(p <= ALPHA for found, p in tests if found is not None)
            and (min(deltas) > 0 or max(deltas) < 0)
        )


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Text overlap goes up while faithfulness goes down."""

    overlap: str
    faithfulness: str
    shown: bool
    """Both changes are significant after Holm; else they are seen in direction only."""

    def sentence(self) -> str:
        """One plain sentence."""
        if self.shown:
            return (
                f"Metrics disagree: {self.overlap} is up while {self.faithfulness} is down, both shown after Holm; "
                "a gain in overlap hides a loss of faithfulness."
            )
        return (
            f"Metrics may disagree: {self.overlap} is up and {self.faithfulness} is down in direction, "
            "but not both are shown."
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Candidate against baseline on each score of each task, Holm-corrected over all of them."""

    scores: tuple[ScoreComparison, ...]
    absent: tuple[tuple[Task, Key], ...] = ()
    """Scores that were asked for and that one or both models lack."""

    def disagreements(self) -> tuple[Disagreement, ...]:
        """Within each task, each pair of an overlap score that goes up and a faithfulness score that goes down."""
        moved = [found for found in self.scores if found.difference is not None]
        up = [found for found in moved if found.score.kind == "overlap" and _gain(found) > 0]
        down = [found for found in moved if found.score.kind == "faithfulness" and _gain(found) < 0]
        return tuple(
            Disagreement(overlap=o.key, faithfulness=f.key, shown=o.shown() and f.shown())
            for o in up
            for f in down
            if o.task == f.task
        )


def _gain(found: ScoreComparison) -> float:
    """The difference, positive where the candidate is better."""
    if found.difference is None:
        return 0.0
    return found.difference.delta if found.score.higher_is_better is not False else -found.difference.delta


def compare(
    baseline: Mapping[Task, Scored], candidate: Mapping[Task, Scored], columns: Sequence[tuple[Task, Key]]
) -> Comparison:
    """Paired tests of two models on one or several tasks.

    Args:
        baseline: Its record of each task.
        candidate: The same.
        columns: Task and score, the verdict's first.

    Raises:
        HarnessError: If the records of a task are of different documents, prompts, decoding, or ways to compute a score; it names
            the difference.
    """
    shared = [
        (task, key)
        for task, key in columns
        if task in baseline
        and task in candidate
        and _has(baseline[task], key)
        and _has(candidate[task], key)
        and (key in baseline[task].values or key in candidate[task].values)
    ]
    problems: list[str] = []
    for task in dict.fromkeys(task for task, _ in shared):
        keys = [key for owner, key in shared if owner == task]
        problems += incompatibilities(baseline[task], candidate[task], keys)
    HarnessError.raise_for(
        problems,
        "Compare runs of one task on the same documents, prompts and decoding, scored in the same way.",
    )
    found = [_compare_score(baseline[task], candidate[task], key) for task, key in shared]
    return Comparison(
        scores=_corrected(found), absent=tuple(column for column in columns if column not in shared)
    )


def _has(record: Scored, key: Key) -> bool:
    return key in record.values or answered_nothing(record)


def _corrected(found: Sequence[ScoreComparison]) -> tuple[ScoreComparison, ...]:
    """With Holm's p-values over every test that is printed."""
    tests = []
    for item in found:
        counted = item.failures.difference if item.failures else None
        tests += [difference.p_value for difference in (item.difference, counted) if difference is not None]
    adjusted = iter(holm(tests))
    corrected = []
    for item in found:
        p = next(adjusted) if item.difference is not None else 1.0
        failures = item.failures
        if failures is not None and failures.difference is not None:
            failures = replace(failures, p_holm=next(adjusted))
        corrected.append(replace(item, p_holm=p, failures=failures, tests=max(len(tests), 1)))
    return tuple(corrected)


def _compare_score(baseline: Scored, candidate: Scored, key: Key) -> ScoreComparison:
    score = describe(baseline if key in baseline.scores else candidate, key)
    both = baseline.answered(key) & candidate.answered(key)
    return ScoreComparison(
        task=baseline.task,
        key=key,
        score=score,
        n=baseline.n,
        difference=_on_common(baseline, candidate, key, both) if both.any() else None,
        p_holm=1.0,
        failures=_with_failures(baseline, candidate, key, score),
        matched=_matched(baseline, candidate, key) if both.any() else None,
        tests=1,
        no_evidence=no_evidence(baseline, key) or no_evidence(candidate, key),
    )


def _on_common(baseline: Scored, candidate: Scored, key: Key, both: Any) -> Difference:
    if key in baseline.statistics and key in candidate.statistics:
        return compare_statistics(
            baseline.statistics[key][both], candidate.statistics[key][both], scorer_of(baseline, key)
        )
    return _means(baseline.values[key][both], candidate.values[key][both])


def _means(before: FloatArray, after: FloatArray) -> Difference:
    is_rate = np.isin(before, (0.0, 1.0)).all() and np.isin(after, (0.0, 1.0)).all()
    return (compare_rates if is_rate else compare_means)(before, after)


def _with_failures(baseline: Scored, candidate: Scored, key: Key, score: Score) -> WithFailures | None:
    answered = baseline.answered(key), candidate.answered(key)
    if np.array_equal(*answered):
        return None
    failed = (int((~answered[0]).sum()), int((~answered[1]).sum()))
    pair = (baseline, candidate)
    if key in baseline.statistics or key in candidate.statistics:
        tables = filled_statistics(pair, key)
        owner = baseline if key in baseline.statistics else candidate
        difference = (
            None if tables is None else compare_statistics(tables[0], tables[1], scorer_of(owner, key))
        )
    else:
        values = filled_values(pair, key, score)
        difference = None if values is None else _means(values[0], values[1])
    return WithFailures(failed=failed, difference=difference)


def default_keys(baseline: Header, candidate: Header) -> list[Key]:
    """Scores of both records that have a better direction: faithfulness first, then overlap, then the others.

    What is no evidence comes last.
    """
    shared = [key for key in baseline.scores if key in candidate.scores]
    directed = [key for key in shared if baseline.scores[key]["higher_is_better"] is not None]
    ordered = in_order(directed or shared)
    return sorted(ordered, key=lambda key: bool(no_evidence(baseline, key) or no_evidence(candidate, key)))


def incompatibilities(baseline: Scored, candidate: Scored, keys: Sequence[Key]) -> list[str]:
    """What makes two records incomparable, each as a sentence; empty if nothing does."""
    found = []
    if (baseline.task, baseline.task_version) != (candidate.task, candidate.task_version):
        found.append(
            f"tasks differ: {baseline.task} {baseline.task_version}, {candidate.task} {candidate.task_version}"
        )
    found += differing_conditions(baseline, candidate)
    found += [
        f"{key} is computed in two ways: {ours} and {theirs}"
        for key in keys
        if (ours := _signature(baseline, key)) is not None
        and (theirs := _signature(candidate, key)) is not None
        and ours != theirs
    ]
    return found


def differing_conditions(baseline: Scored, candidate: Scored) -> list[str]:
    """Documents, prompts, decoding and limit that differ, each as a sentence."""
    ours, theirs = baseline.provenance, candidate.provenance
    found = []
    for field, name in _MUST_AGREE.items():
        if ours.get(field) != theirs.get(field):
            detail = f"{_short(ours.get(field))} and {_short(theirs.get(field))}"
            found.append(f"{name} differ: {detail}{_first_difference(baseline, candidate, name)}")
    if not np.array_equal(baseline.doc_ids, candidate.doc_ids) and not found:
        found.append(
            f"documents differ: {baseline.n} of {baseline.model}, {candidate.n} of {candidate.model}"
        )
    return found


def _first_difference(baseline: Scored, candidate: Scored, name: str) -> str:
    """For prompts and documents, which differ only in a hash so far: what differs to the eye."""
    if name == "prompts" and baseline.prompt != candidate.prompt:
        return f" ({baseline.prompt!r:.120} and {candidate.prompt!r:.120})"
    if name == "prompts":
        cut = [record.counts.get("shortened", 0) for record in (baseline, candidate)]
        return f" (sources cut to fit the context: {cut[0]} and {cut[1]})" if any(cut) else ""
    if name == "documents":
        sources = [record.provenance.get("data_source") for record in (baseline, candidate)]
        return f" ({sources[0]}, {baseline.n} documents; {sources[1]}, {candidate.n})"
    return ""


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _signature(record: Header, key: Key) -> str | None:
    score: Mapping[str, Any] = record.scores.get(key, {})
    return score.get("signature")


def _matched(baseline: Scored, candidate: Scored, key: Key) -> Matched | None:
    style = tuple(name for name in STYLE if name in baseline.values and name in candidate.values)
    if not style or key in (*STYLE, "coverage", *answers.SCORES):
        return None
    sides = [
        np.stack([record.values[name] for name in (key, *style)], axis=1) for record in (baseline, candidate)
    ]
    both = ~np.isnan(sides[0]).any(axis=1) & ~np.isnan(sides[1]).any(axis=1)
    if not both.any():
        return None
    before, after = (side[both] for side in sides)
    styles: tuple[FloatArray, FloatArray] = (np.log1p(before[:, 1:]), np.log1p(after[:, 1:]))
    difference = after[:, 0] - before[:, 0]
    return Matched(
        adjusted=adjusted_mean(difference, styles[1] - styles[0]),
        pairs=matched_mean(difference, matched_pairs(*styles)),
        covariates=style,
    )
