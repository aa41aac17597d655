"""Bootstrap intervals for means and for corpus statistics, seeded and in bounded memory.

A corpus score such as chrF is not a mean of sentence scores: it is a function of counts summed over the
corpus. `bootstrap_statistic` therefore resamples the per-sample counts, sums them, and scores the sums, so
a resample costs one row of a matrix product, never a new scoring of texts. A mean is the special case with
one count per sample.

The interval is BCa (bias-corrected and accelerated). `benchmarks/interval_coverage.py` measures its coverage
against the percentile, bootstrap-t and Student intervals; `docs/statistics.md` holds the table and the
reason.

Source: Efron (1987), "Better Bootstrap Confidence Intervals", JASA 82(397), eqs. 2.3, 6.6;
Efron and Tibshirani (1993), "An Introduction to the Bootstrap", section 14.3.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from harness.stats.resampling import resampled_sums
from harness.stats.ties import TIE, settled, size_of, varies
from harness.stats.ties import FloatArray as FloatArray

IntArray = NDArray[np.int64]
ScoreFunction = Callable[[FloatArray], FloatArray]
"""Statistics summed over each of b sets of documents, shape [b, k], to b finite scores, shape [b]."""


@dataclass(frozen=True)
class Interval:
    """A closed interval in the unit of the score; both limits are NaN where no interval is defined."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @classmethod
    def around(cls, centre: float, half: float) -> "Interval":
        """The interval of that half width; a limit that is 0 but for rounding is 0.0."""
        scale = abs(centre) + half
        return cls(settled(centre - half, scale), settled(centre + half, scale))


def bootstrap_interval(
    values: Sequence[float] | FloatArray,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> Interval:
    """Return the BCa bootstrap interval of the mean of `values`.

    Args:
        values: One finite score per sample, shape [n]; failed samples are left out by the caller.
        n_resamples: Number of bootstrap resamples.
        confidence: Nominal coverage, in (0, 1).
        seed: Seed of the generator; equal input and seed give an equal interval.

    Returns:
        The interval, in the unit of `values`. One value gives NaN limits: a single sample has no spread.

    Raises:
        ValueError: No values, a value that is not finite, or an argument out of range.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise ValueError(f"values must have shape [n], not {column.shape}")
    return bootstrap_intervals(column[:, None], n_resamples=n_resamples, confidence=confidence, seed=seed)[0]


def bootstrap_intervals(
    columns: FloatArray,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> list[Interval]:
    """Return the BCa intervals of the means of several columns over the same samples, in one product.

    Args:
        columns: Finite scores, shape [n, c].
        n_resamples: Number of bootstrap resamples.
        confidence: Nominal coverage, in (0, 1).
        seed: Seed of the generator.

    Returns:
        For each column what `bootstrap_interval` gives.

    Raises:
        ValueError: As `bootstrap_interval`.
    """
    table = _checked(columns, n_resamples, confidence)
    n = len(table)
    if n == 1:
        return [Interval(float("nan"), float("nan"))] * table.shape[1]
    replicates = resampled_sums(table, n_resamples=n_resamples, seed=seed) / n
    total = table.sum(axis=0)
    left_out = (total - table) / (n - 1)
    return [
        bca_interval(replicates[:, j], float(total[j] / n), left_out[:, j], confidence=confidence)
        for j in range(table.shape[1])
    ]


def bootstrap_statistic(
    statistics: FloatArray,
    fn: ScoreFunction,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> Interval:
    """Return the BCa bootstrap interval of a score that is a function of summed per-sample statistics.

    Args:
        statistics: Sufficient statistics per sample, shape [n, k] (for chrF: n-gram matches and totals).
        fn: Maps statistics summed over each of b resamples, shape [b, k], to b scores, shape [b].
        n_resamples: Number of bootstrap resamples.
        confidence: Nominal coverage, in (0, 1).
        seed: Seed of the generator.

    Returns:
        The interval, in the unit of `fn`; NaN limits for a single sample.

    Raises:
        ValueError: No samples, a statistic that is not finite, or an argument out of range.
    """
    table = _checked(statistics, n_resamples, confidence)
    if len(table) == 1:
        return Interval(float("nan"), float("nan"))
    replicates = fn(resampled_sums(table, n_resamples=n_resamples, seed=seed))
    total = table.sum(axis=0)
    observed = float(fn(total[None, :])[0])
    return bca_interval(replicates, observed, fn(total[None, :] - table), confidence=confidence)


def percentile_interval(
    measure: Callable[[IntArray], float], n: int, *, n_resamples: int = 1000, seed: int = 12345
) -> Interval:
    """Return the 95% percentile bootstrap interval of a measure that is no function of sums, such as an AUROC.

    Not BCa: its jackknife would ask for the measure once more for each of n samples.

    Args:
        measure: Maps the indices of a resample, shape [n], to a score; NaN where it is not defined there.
        n: Number of samples, at least 1.
        n_resamples: Number of bootstrap resamples.
        seed: Seed of the generator.

    Returns:
        The interval, over the resamples in which the measure is defined; NaN limits where it is in none.
    """
    generator = np.random.default_rng(seed)
    drawn = np.array([measure(generator.integers(0, n, n)) for _ in range(n_resamples)])
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(float(low), float(high))


def bca_interval(
    replicates: FloatArray, observed: float, left_out: FloatArray, *, confidence: float = 0.95
) -> Interval:
    """Return the BCa interval from bootstrap replicates [b], the observed score and jackknife scores [n]."""
    scale = size_of(replicates)
    if not varies(replicates, scale):
        return Interval.around(observed, 0.0)
    replicates = np.sort(replicates)
    # Ties count half: scores such as rates are discrete, and "share below" alone would shift the interval.
    tie = TIE * scale
    below = np.searchsorted(replicates, observed - tie) + np.searchsorted(replicates, observed + tie)
    normal = NormalDist()
    bias = normal.inv_cdf(float(np.clip(below / (2 * len(replicates)), 1e-6, 1 - 1e-6)))
    acceleration = _acceleration(left_out, scale)
    shifted = [bias + normal.inv_cdf(tail) for tail in ((1 - confidence) / 2, (1 + confidence) / 2)]
    shares = [
        # the correction has a pole: beyond it lies the whole distribution
        normal.cdf(bias + z / (1 - acceleration * z)) if acceleration * z < 1 else float(z > 0)
        for z in shifted
    ]
    low, high = (settled(float(limit), scale) for limit in np.quantile(replicates, shares))
    return Interval(low, high)


def _acceleration(left_out: FloatArray, scale: float) -> float:
    """A sixth of the skewness of the jackknife scores, over sqrt(n)."""
    deviation = left_out.mean() - left_out
    if not varies(deviation, 1e-3 * scale):  # deviations are n times smaller than the scores' own
        return 0.0
    square = deviation * deviation
    squares, cubes = float(square.sum()), float((square * deviation).sum())
    return cubes / (6 * squares * math.sqrt(squares))


def _checked(statistics: FloatArray, n_resamples: int, confidence: float) -> FloatArray:
    table = np.asarray(statistics, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0:
        raise ValueError(f"statistics must have shape [n, k] with n >= 1, not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("statistics hold a value that is not finite: leave failed samples out")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, not {n_resamples}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
    return table
