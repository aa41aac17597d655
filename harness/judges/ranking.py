"""How good a judge is against labels: balanced accuracy, AUROC, calibration, confusion; failed pairs are counted and left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.judges.calibration import ece
from harness.judges.judge import THRESHOLD

N_RESAMPLES = 1000
_SEED = 12345


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """A judge against labels. A hallucination is the positive class, as in Vectara's tables."""

    n: int
    failed: int
    balanced_accuracy: float
    """Mean of the shares of hallucinations found and of consistent texts passed, at 0.5; chance is 0.5."""
    auroc: float
    ece: float
    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        return [
            ("pairs", str(self.n) + (f" ({self.failed} more without a score)" if self.failed else "")),
            ("balanced accuracy", f"{self.balanced_accuracy:.3f}"),
            ("AUROC", f"{self.auroc:.3f}"),
            ("ECE", f"{self.ece:.3f}"),
            (
                "hallucinations found / missed",
                f"{self.true_positive} / {self.false_negative}",
            ),
            ("consistent passed / rejected", f"{self.true_negative} / {self.false_positive}"),
        ]


def rank(scores: Sequence[float], labels: Sequence[int]) -> Ranking:
    """Compare scores (probability of consistent, NaN for failed) with labels (1 for consistent).

    A measure that needs both classes is NaN where one is missing.
    """
    kept = [(score, label) for score, label in zip(scores, labels, strict=True) if not math.isnan(score)]
    found = [(score < THRESHOLD, label == 0) for score, label in kept]
    tp = sum(said and is_so for said, is_so in found)
    fp = sum(said and not is_so for said, is_so in found)
    fn = sum(not said and is_so for said, is_so in found)
    tn = len(found) - tp - fp - fn
    values, truth = [score for score, _ in kept], [label for _, label in kept]
    return Ranking(
        n=len(kept),
        failed=len(scores) - len(kept),
        balanced_accuracy=balanced_accuracy(values, truth),
        auroc=auroc(values, truth),
        ece=ece(values, truth) if kept else math.nan,
        true_positive=tp,
        false_positive=fp,
        true_negative=tn,
        false_negative=fn,
    )


def balanced_accuracy(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Mean share of right verdicts over the two classes; NaN if one is missing."""
    right = {0: [s < THRESHOLD for s, y in zip(scores, labels, strict=True) if y == 0],
             1: [s >= THRESHOLD for s, y in zip(scores, labels, strict=True) if y == 1]}  # fmt: skip
    if not right[0] or not right[1]:
        return math.nan
    return (sum(right[0]) / len(right[0]) + sum(right[1]) / len(right[1])) / 2


def auroc(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Probability that a consistent pair scores above a hallucinated one, ties by half (Mann-Whitney); NaN without both classes."""
    from scipy.stats import rankdata

    truth = np.asarray(labels)
    positive, negative = int((truth == 1).sum()), int((truth == 0).sum())
    if not positive or not negative:
        return math.nan
    total = float(rankdata(scores)[truth == 1].sum())
    return (total - positive * (positive + 1) / 2) / (positive * negative)


def interval(name: str, scores: Sequence[float], labels: Sequence[int]) -> tuple[float, float]:
    """95% percentile bootstrap over pairs of one of `measure`'s names; a draw without both classes is left out."""
    function = _MEASURES[name]
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    rng = np.random.default_rng(_SEED)
    draws = []
    for _ in range(N_RESAMPLES):
        index = rng.integers(0, len(values), len(values))
        draws.append(function(values[index].tolist(), truth[index].tolist()))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def measure(name: str, scores: Sequence[float], labels: Sequence[int]) -> float:
    """``balanced_accuracy``, ``auroc`` or ``ece``; NaN where it is not defined."""
    if not scores:
        return math.nan
    return _MEASURES[name](scores, labels)


_MEASURES = {"balanced_accuracy": balanced_accuracy, "auroc": auroc, "ece": ece}
