"""Differences at equal length and extractiveness.

A system can raise a score by writing longer, shorter or more copied text. Two answers ask what is left of a paired difference
when that is held equal. `adjusted_mean` uses every document: it regresses the difference on the differences of the covariates and
takes the intercept, the expected difference where both responses are alike in them. It assumes that the dependence is linear.
`matched_pairs` assumes nothing about form, keeps only documents whose two responses are already alike, and so speaks for fewer.

Neither is causal: what a model writes is part of what it does. They say whether a gain can be had without the change of style.

Sources: analysis of covariance on change scores, e.g. Senn (2006), Statistics in Medicine 25(24); caliper matching, Cochran and
Rubin (1973), Sankhya A 35(4), who find that 0.2 standard deviations removes 99% of the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import Interval, bootstrap_interval, bootstrap_statistic
from harness.stats.ties import TIE, FloatArray, settled, size_of, varies

CALIPER = 0.2
"""Largest difference between matched responses, in standard deviations of the covariate over both systems."""
FEWEST_PAIRS = 30
"""Below this, bootstrap intervals of skewed scores hold the truth too rarely (docs/statistics.md)."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean difference, candidate minus baseline."""

    delta: float
    interval: Interval | None
    """None where all differences are alike, so that no spread is known."""
    n: int
    """Documents that it speaks for."""


def adjusted_mean(
    difference: FloatArray,
    covariates: FloatArray,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> Estimate | None:
    """The expected difference where the covariates do not differ, by least squares, with a bootstrap interval.

    Documents are resampled whole, so unequal variances do no harm. Least squares is a function of sums, so a resample costs a row
    of a matrix product and the solution of a system of k + 1 equations.

    Args:
        difference: Candidate minus baseline, shape [n].
        covariates: Differences of the covariates, shape [n, k]; those that never vary are left out.
        n_resamples: Number of resamples.
        confidence: Nominal coverage.
        seed: Seed of the generator.

    Returns:
        None with fewer than 10 documents for each unknown, where the estimate would be noise, and where the covariates are next to
        collinear, so that it would rest on rounding.
    """
    n = len(difference)
    varying = [column for column in covariates.T if varies(column, size_of(column))]
    # unit spread for the conditioning of the normal equations; the intercept is the same
    design = np.column_stack([np.ones(n), *(column / column.std() for column in varying)])
    k = design.shape[1]
    if n < 10 * k or _collinear(design[:, 1:]):
        return None
    products = (design[:, :, None] * design[:, None, :]).reshape(n, k * k)
    table = np.column_stack([products, design * difference[:, None]])
    # a resample may lack all variation in a covariate: a ridge far below its spread keeps it solvable
    ridge = 1e-9 * n * np.diag([0.0] + [1.0] * (k - 1))

    def intercept(sums: FloatArray) -> FloatArray:
        matrix = sums[:, : k * k].reshape(-1, k, k) + ridge
        solution: FloatArray = np.linalg.solve(matrix, sums[:, k * k :, None])[:, 0, 0].astype(np.float64)
        return solution

    interval = (
        bootstrap_statistic(table, intercept, n_resamples=n_resamples, confidence=confidence, seed=seed)
        if varies(difference, size_of(difference))
        else None
    )
    delta = float(intercept(table.sum(axis=0)[None, :])[0])
    return Estimate(delta=settled(delta, size_of(difference)), interval=interval, n=n)


def _collinear(columns: FloatArray) -> bool:
    """Whether a covariate is a linear function of the others but for a thousandth of its spread."""
    if columns.shape[1] < 2:
        return False
    spread = np.linalg.svd(columns - columns.mean(axis=0), compute_uv=False) / len(columns) ** 0.5
    return bool(spread[-1] < 1e-3)


def matched_pairs(baseline: FloatArray, candidate: FloatArray, caliper: float = CALIPER) -> NDArray[np.bool_]:
    """Which documents have two responses alike in every covariate.

    Args:
        baseline: Covariates of the baseline's responses, shape [n, k].
        candidate: The same for the candidate.
        caliper: Largest difference, in standard deviations over both systems.
    """
    both = np.concatenate([baseline, candidate])
    # a pair at the caliper stays in, and so do all pairs where a covariate does not vary
    widest = (1 + TIE) * caliper * both.std(axis=0) + TIE * np.abs(both).max(axis=0, initial=0.0)
    alike: NDArray[np.bool_] = (np.abs(candidate - baseline) <= widest).all(axis=1)
    return alike


def matched_mean(
    difference: FloatArray, alike: NDArray[np.bool_], *, n_resamples: int = 2000, seed: int = 12345
) -> Estimate | None:
    """Mean difference over the matched documents; None with fewer than `FEWEST_PAIRS`."""
    kept = difference[alike]
    if len(kept) < FEWEST_PAIRS:
        return None
    return Estimate(
        delta=float(kept.mean()),
        interval=bootstrap_interval(kept, n_resamples=n_resamples, seed=seed)
        if varies(kept, size_of(kept))
        else None,
        n=len(kept),
    )
