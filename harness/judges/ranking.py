"""How good a judge is against labels: balanced accuracy, AUROC, calibration, confusion; failed pairs are counted and left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.judges.calibration import ece
from harness.judges.judge import THRESHOLD
from harness.stats.bootstrap import IntArray, Interval, percentile_interval
from harness.stats.held_out import auroc

_NONE = ((0, 0), (0, 0))


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
    from sklearn.metrics import confusion_matrix

    kept = [(score, label) for score, label in zip(scores, labels, strict=True) if not math.isnan(score)]
    values, truth = [score for score, _ in kept], [label for _, label in kept]
    # a row for each truth, a column for each verdict; what is consistent is the negative class
    (tp, fn), (fp, tn) = confusion_matrix(truth, _passed(values), labels=[0, 1]).tolist() if kept else _NONE
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
    if len(set(labels)) != 2:
        return math.nan
    right = np.asarray(_passed(scores)) == np.asarray(labels)
    return float(np.mean([right[np.asarray(labels) == label].mean() for label in (0, 1)]))


def interval(name: str, scores: Sequence[float], labels: Sequence[int]) -> Interval:
    """95% percentile bootstrap over pairs of one of `measure`'s names; a draw without both classes is left out."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels)

    def drawn(index: IntArray) -> float:
        return measure(name, values[index].tolist(), truth[index].tolist())

    return percentile_interval(drawn, len(values))


def measure(name: str, scores: Sequence[float], labels: Sequence[int]) -> float:
    """``balanced_accuracy``, ``auroc`` or ``ece``; NaN where it is not defined."""
    if not scores:
        return math.nan
    return _MEASURES[name](scores, labels)


_MEASURES = {"balanced_accuracy": balanced_accuracy, "auroc": auroc, "ece": ece}


def _passed(scores: Sequence[float]) -> list[int]:
    return [int(score >= THRESHOLD) for score in scores]
