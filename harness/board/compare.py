"""Whether the difference between two records on the same documents is real, and whether it is one of style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.metrics.base import FloatArray
from harness.metrics.suite import statistics_of
from harness.records import Record
from harness.records.headlines import scorer_of, values_of
from harness.stats import Difference, compare_means, compare_rates, compare_statistics, holm
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
_FIRST = (
    "oracle_faithfulness",
    "factual_consistency_rate",
    "factual_rate",
    "rougeL",
    "chrf",
    "meteor",
    "bertscore_f1",
)
"""One score of each family, in the order in which they are shown where nobody chose."""
_OVERLAP = ("rouge", "chrf", "meteor", "bertscore")
_FAITHFUL = ("factual_", "oracle_faithfulness")


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What is left of a difference at equal length and extractiveness; for a corpus score, of the mean of sentence scores."""

    adjusted: Estimate | None
    """All documents, by regression."""
    pairs: Estimate | None
    """Only documents whose two responses are alike."""
    covariates: tuple[str, ...]


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
    """Candidate against baseline on each key, Holm-corrected over the keys."""

    keys: tuple[str, ...]
    differences: tuple[Difference, ...]
    adjusted_p: tuple[float, ...]
    matched: tuple[Matched | None, ...]
    """For each key; None where the records have no length, or the key is itself one of style."""
    directions: tuple[bool | None, ...]
    """For each key, whether higher is better."""
    left_out: int
    """Documents on which one or both systems gave no answer, so that the first key compares the others."""

    def detectable(self, index: int) -> float:
        """Smallest true difference that this comparison finds in 4 of 5 cases, whatever the other scores do.

        At alpha over the number of scores, the level of Holm's first step.
        """
        return self.differences[index].detectable(alpha=ALPHA / len(self.keys))

    def disagreements(self) -> tuple[Disagreement, ...]:
        """Each pair of an overlap score that goes up and a faithfulness score that goes down."""
        moved = list(zip(self.keys, self.differences, self.adjusted_p, strict=True))
        up = [(key, p) for key, found, p in moved if key.startswith(_OVERLAP) and found.delta > 0]
        down = [(key, p) for key, found, p in moved if key.startswith(_FAITHFUL) and found.delta < 0]
        pairs = [(overlap, faithful) for overlap in up for faithful in down]
        return tuple(
            Disagreement(overlap=o, faithfulness=f, shown=p_o <= ALPHA and p_f <= ALPHA)
            for (o, p_o), (f, p_f) in pairs
        )

    def verdict(self, baseline: str, candidate: str, percent: bool = True) -> str:
        """One plain sentence on the first key."""
        key, found, p = self.keys[0], self.differences[0], self.adjusted_p[0]
        scale = 100 if percent else 1
        unit = " points" if percent else ""
        change = f"{scale * found.delta:+.1f}{unit}, 95% interval {interval_text(found, scale)}"
        tested = f"{found.test}, p {format_p(p)} after Holm over {len(self.keys)} scores, n = {found.n}"
        if p <= ALPHA:
            word = self._word(found.delta)
            return f"{candidate} is {word} than {baseline} on {key}: {change} ({tested})."
        least = f"this comparison could have found {scale * self.detectable(0):.1f}{unit} in 4 of 5 cases"
        return (
            f"No difference shown between {candidate} and {baseline} on {key}: {change} ({tested}); {least}."
        )

    def _word(self, delta: float) -> str:
        if self.directions[0] is None:
            return "higher" if delta > 0 else "lower"
        return "better" if (delta > 0) == self.directions[0] else "worse"


def interval_text(found: Difference | Estimate, scale: float) -> str:
    """The interval of a difference, signed."""
    return f"{scale * found.interval.low:+.1f} to {scale * found.interval.high:+.1f}"


def format_p(p: float) -> str:
    """A p-value as printed after the letter p."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.4f}"


def compare(baseline: Record, candidate: Record, keys: Sequence[str]) -> Comparison:
    """Paired tests on the documents that both answered: McNemar for rates, paired bootstrap otherwise.

    Raises:
        HarnessError: If the records are of different tasks, documents, prompts, decoding, or ways to compute a score; it names
            the difference.
    """
    HarnessError.raise_for(
        incompatibilities(baseline, candidate, keys),
        "Compare runs of one task on the same documents, prompts and decoding, scored in the same way.",
    )
    differences = [paired_difference(baseline, candidate, key) for key in keys]
    adjusted = holm([difference.p_value for difference in differences])
    return Comparison(
        keys=tuple(keys),
        differences=tuple(differences),
        adjusted_p=tuple(adjusted),
        matched=tuple(_matched(baseline, candidate, key) for key in keys),
        directions=tuple(baseline.scores.get(key, {}).get("higher_is_better") for key in keys),
        left_out=len(baseline.samples) - differences[0].n,
    )


def default_keys(baseline: Record, candidate: Record) -> list[str]:
    """Scores of both records that have a better direction: faithfulness first, then overlap, then the others."""
    shared = [key for key in baseline.scores if key in candidate.scores]
    directed = [key for key in shared if baseline.scores[key]["higher_is_better"] is not None]
    first = [key for key in _FIRST if key in directed]
    others = [key for key in directed or shared if key not in first]
    return first + sorted(
        others, key=lambda key: (not key.startswith(_FAITHFUL), not key.startswith(_OVERLAP), key)
    )


def incompatibilities(baseline: Record, candidate: Record, keys: Sequence[str]) -> list[str]:
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
        if (ours := _signature(baseline, key)) != (theirs := _signature(candidate, key))
    ]
    return found


def differing_conditions(baseline: Record, candidate: Record) -> list[str]:
    """Documents, prompts, decoding and limit that differ, each as a sentence."""
    ours, theirs = baseline.provenance, candidate.provenance
    found = []
    for field, name in _MUST_AGREE.items():
        if ours.get(field) != theirs.get(field):
            detail = f"{_short(ours.get(field))} and {_short(theirs.get(field))}"
            found.append(f"{name} differ: {detail}{_first_difference(baseline, candidate, name)}")
    return found


def _first_difference(baseline: Record, candidate: Record, name: str) -> str:
    """For prompts and documents, which differ only in a hash so far: what differs to the eye."""
    if name == "prompts" and baseline.prompt != candidate.prompt:
        return f" ({baseline.prompt!r:.120} and {candidate.prompt!r:.120})"
    if name == "prompts":
        cut = [sum(s.source_chars is not None for s in record.samples) for record in (baseline, candidate)]
        return f" (sources cut to fit the context: {cut[0]} and {cut[1]})" if any(cut) else ""
    if name == "documents":
        sources = [record.provenance.get("data_source") for record in (baseline, candidate)]
        return f" ({sources[0]}, {len(baseline.samples)} documents; {sources[1]}, {len(candidate.samples)})"
    return ""


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _signature(record: Record, key: str) -> str | None:
    score: Mapping[str, Any] = record.scores.get(key, {})
    return score.get("signature")


def paired_difference(baseline: Record, candidate: Record, key: str) -> Difference:
    """The test of one score on the documents that carry it in both records.

    Raises:
        HarnessError: If there are none.
    """
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


def _matched(baseline: Record, candidate: Record, key: str) -> Matched | None:
    style = tuple(name for name in STYLE if baseline.column(name) and candidate.column(name))
    if not style or key in (*STYLE, "coverage", "answer_rate"):
        return None
    columns = [[record.column(name) for name in (key, *style)] for record in (baseline, candidate)]
    shared = sorted(set.intersection(*(set(column) for side in columns for column in side)))
    if not shared:
        return None
    before, after = (np.array([[column[d] for column in side] for d in shared]) for side in columns)
    styles: tuple[FloatArray, FloatArray] = (np.log1p(before[:, 1:]), np.log1p(after[:, 1:]))
    difference = after[:, 0] - before[:, 0]
    return Matched(
        adjusted=adjusted_mean(difference, styles[1] - styles[0]),
        pairs=matched_mean(difference, matched_pairs(*styles)),
        covariates=style,
    )
