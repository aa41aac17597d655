"""How well scores tell two classes apart on documents that nothing was fitted on, with an interval that resamples documents."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from harness.stats.bootstrap import IntArray, percentile_interval
from harness.stats.ties import FloatArray

CHANCE = 0.5
_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """An AUROC: the probability that what is faithful scores above what is not, ties by half."""

    auroc: float
    low: float
    high: float
    """95% percentile bootstrap over documents."""
    n: int
    """Scores."""
    documents: int
    """Documents that they are of."""

    @classmethod
    def measure(
        cls, scores: Sequence[float], labels: Sequence[int], documents: Sequence[Hashable]
    ) -> HeldOut:
        """Measure scores against labels.

        Args:
            scores: Higher for what is faithful; those that are NaN are left out.
            labels: 1 for faithful, 0 for not, of the same length.
            documents: Which document each score is of; scores of one document are drawn together.

        Returns:
            The AUROC and its limits to four decimals; NaN where a class is missing.
        """
        kept = [i for i, score in enumerate(scores) if not math.isnan(score)]
        values = np.array([scores[i] for i in kept], np.float64)
        truth = np.array([labels[i] for i in kept], np.int64)
        number = {document: i for i, document in enumerate(dict.fromkeys(documents[i] for i in kept))}
        groups = np.array([number[documents[i]] for i in kept], np.int64)

        def drawn(index: IntArray) -> float:
            weights = np.bincount(index, minlength=len(number))[groups].astype(np.float64)
            return auroc(values, truth, weights)

        found = auroc(values, truth)
        interval = percentile_interval(drawn, len(number)) if number else None
        low, high = (interval.low, interval.high) if interval else (math.nan, math.nan)
        found, low, high = (round(value, _DIGITS) for value in (found, low, high))
        return cls(auroc=found, low=low, high=high, n=len(kept), documents=len(number))

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval lies above 0.5; not where there is none."""
        return self.low > CHANCE

    def __str__(self) -> str:
        interval = f"{self.auroc:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"AUROC {interval} ({self.n:,} scores of {self.documents:,} held-out documents)"

    def to_dict(self) -> dict[str, Any]:
        """Plain data; null for what is no number."""
        return {name: None if value != value else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From `to_dict`'s data.

        Raises:
            ValueError: If the data are no such measurement.
        """
        if data.keys() != cls.__dataclass_fields__.keys():
            raise ValueError(f"a held-out AUROC has {', '.join(cls.__dataclass_fields__)}")
        values = [math.nan if data[name] is None else float(data[name]) for name in ("auroc", "low", "high")]
        if any(not 0 <= value <= 1 for value in values if not math.isnan(value)):
            raise ValueError("an AUROC lies in 0..1")
        auroc, low, high = values
        return cls(auroc=auroc, low=low, high=high, n=int(data["n"]), documents=int(data["documents"]))


def auroc(
    scores: Sequence[float] | FloatArray,
    labels: Sequence[int] | IntArray,
    weights: FloatArray | None = None,
) -> float:
    """Probability that what is faithful (1) scores above what is not (0), ties by half; NaN without both classes.

    Args:
        scores: Shape [n].
        labels: Shape [n].
        weights: How often each score counts, shape [n]; None: once.
    """
    from sklearn.metrics import roc_auc_score

    counted = np.asarray(labels) if weights is None else np.asarray(labels)[weights > 0]
    if len(np.unique(counted)) < 2:
        return math.nan
    return float(roc_auc_score(labels, scores, sample_weight=weights))
