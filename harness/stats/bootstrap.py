"""Bootstrap intervals for means and for corpus statistics, seeded and in bounded memory.

A corpus score such as chrF is not a mean of sentence scores: it is a function of counts summed over the
corpus. `bootstrap_statistic` therefore resamples the per-sample counts, sums them, and scores the sums, so
a resample costs one gather and one sum, never a new scoring of texts. A mean is the special case with one
count per sample.

The interval is BCa (bias-corrected and accelerated). `benchmarks/interval_coverage.py` measures its coverage
against the percentile, bootstrap-t and Student intervals; `docs/statistics.md` holds the table and the
reason.

Source: Efron (1987), "Better Bootstrap Confidence Intervals", JASA 82(397), eqs. 2.3, 6.6;
Efron and Tibshirani (1993), "An Introduction to the Bootstrap", section 14.3.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ScoreFunction = Callable[[FloatArray], FloatArray]

_CHUNK_CELLS = 2_000_000
"""Resampled cells held at once: 8 MB of indices and 16 MB of values, whatever n and n_resamples are."""


@dataclass(frozen=True)
class Interval:
    """A closed interval in the unit of the score; both limits are NaN where no interval is defined."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


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
    n = len(column)
    return bootstrap_statistic(
        column[:, None],
        lambda sums: sums[:, 0] / n,
        n_resamples=n_resamples,
        confidence=confidence,
        seed=seed,
        jackknife=lambda sums: sums[:, 0] / max(n - 1, 1),
    )


def bootstrap_statistic(
    statistics: FloatArray,
    fn: ScoreFunction,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
    jackknife: ScoreFunction | None = None,
) -> Interval:
    """Return the BCa bootstrap interval of a score that is a function of summed per-sample statistics.

    Args:
        statistics: Sufficient statistics per sample, shape [n, k] (for chrF: n-gram matches and totals).
        fn: Maps statistics summed over each of b resamples, shape [b, k], to b scores, shape [b].
        n_resamples: Number of bootstrap resamples.
        confidence: Nominal coverage, in (0, 1).
        seed: Seed of the generator.
        jackknife: `fn` for sums over n - 1 samples, where `fn` itself divides by n; `fn` if None.

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
    left_out = (jackknife or fn)(total[None, :] - table)
    return bca_interval(replicates, observed, left_out, confidence=confidence)


def resampled_sums(statistics: FloatArray, *, n_resamples: int, seed: int) -> FloatArray:
    """Return the statistics summed over each resample with replacement, shape [n_resamples, k].

    The draws depend on n, n_resamples and seed alone, never on the values, so two systems that answered the
    same n documents are resampled alike: their replicates may be subtracted (the paired bootstrap).
    """
    n, k = statistics.shape
    sums = np.empty((n_resamples, k))
    columns = [np.ascontiguousarray(statistics[:, j]) for j in range(k)]
    for start, indices in _draws(n, n_resamples, seed):
        for j, column in enumerate(columns):
            sums[start : start + len(indices), j] = column[indices].sum(axis=1)
    return sums


def bca_interval(
    replicates: FloatArray, observed: float, left_out: FloatArray, *, confidence: float = 0.95
) -> Interval:
    """Return the BCa interval from bootstrap replicates [b], the observed score and jackknife scores [n]."""
    replicates = np.sort(replicates)
    if replicates[0] == replicates[-1]:
        return Interval(float(replicates[0]), float(replicates[-1]))
    # Ties count half: scores such as rates are discrete, and "share below" alone would shift the interval.
    below = np.searchsorted(replicates, observed, "left") + np.searchsorted(replicates, observed, "right")
    normal = NormalDist()
    bias = normal.inv_cdf(float(np.clip(below / (2 * len(replicates)), 1e-6, 1 - 1e-6)))
    deviation = left_out.mean() - left_out
    scale = float((deviation**2).sum()) ** 1.5
    acceleration = float((deviation**3).sum()) / (6 * scale) if scale > 0 else 0.0
    shifted = [bias + normal.inv_cdf(tail) for tail in ((1 - confidence) / 2, (1 + confidence) / 2)]
    low, high = np.quantile(replicates, [normal.cdf(bias + z / (1 - acceleration * z)) for z in shifted])
    return Interval(float(low), float(high))


def _draws(n: int, n_resamples: int, seed: int) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield (first resample, indices [c, n]) in chunks; the stream does not depend on the chunk size."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // n)
    for start in range(0, n_resamples, rows):
        count = min(rows, n_resamples - start)
        # One call per row: integers() buffers 32-bit halves within a call, so the chunk size would leak
        # otherwise.
        yield start, np.stack([generator.integers(0, n, size=n, dtype=np.int32) for _ in range(count)])


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
