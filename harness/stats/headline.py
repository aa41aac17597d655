"""A headline and its interval, from columns of scores: the one rule that evaluation and verification share."""

from __future__ import annotations

import math

import numpy as np

from harness.stats.bootstrap import (
    FloatArray,
    Interval,
    ScoreFunction,
    bootstrap_interval,
    bootstrap_statistic,
)
from harness.stats.wilson import wilson_interval


def headline(
    values: FloatArray,
    statistics: FloatArray | None = None,
    corpus_score: ScoreFunction | None = None,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> tuple[float, Interval | None]:
    """The headline of one score: the mean, or the corpus score of summed statistics, with its interval.

    Wilson's interval for a rate (values 0 and 1 only), the BCa bootstrap otherwise: docs/statistics.md has the measurement.

    Args:
        values: Score of each sample that carries one, float [n], n >= 1.
        statistics: Counts behind a corpus score, float [n, k].
        corpus_score: Summed statistics [b, k] to scores [b]; None for a mean.
        n_resamples: Of the bootstrap.
        confidence: Nominal coverage of the interval.
        seed: Of the bootstrap.

    Returns:
        Value and interval, in the unit of the score; the interval is None for a single sample.
    """
    value = headline_value(values, statistics, corpus_score)
    if len(values) == 1:
        return value, None
    if corpus_score is not None and statistics is not None:
        return value, bootstrap_statistic(
            statistics, corpus_score, n_resamples=n_resamples, confidence=confidence, seed=seed
        )
    if np.isin(values, (0.0, 1.0)).all():
        return value, wilson_interval(int(values.sum()), len(values), confidence=confidence)
    return value, bootstrap_interval(values, n_resamples=n_resamples, confidence=confidence, seed=seed)


def headline_value(
    values: FloatArray, statistics: FloatArray | None = None, corpus_score: ScoreFunction | None = None
) -> float:
    """The headline without its interval; see `headline`."""
    if corpus_score is not None and statistics is not None:
        return float(corpus_score(statistics.sum(axis=0, keepdims=True))[0])
    return math.fsum(values.tolist()) / len(values)
