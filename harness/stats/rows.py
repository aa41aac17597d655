"""Which test a pair of systems gets, and its p-value: shared by the comparison of two and the ranks of many.

Sources: `harness.stats.permutation`, `harness.stats.student`, `harness.stats.jackknife`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import ScoreFunction
from harness.stats.permutation import sign_flip_p_values, swap_p_value
from harness.stats.student import SMALLEST_P, has_spread, moments, t_p_values
from harness.stats.ties import TIE, FloatArray, size_of

FEWEST_FOR_T = 50
"""Documents that must differ for Student's t; docs/statistics.md has the simulation."""
SEED = 12345
"""Of the draws of permutation tests, where the caller names none."""


def mean_p_values(found: FloatArray, scales: FloatArray, *, seed: int) -> FloatArray:
    """Return the p-value of each row of differences [r, n], shape [r]; a difference of rounding noise must be 0.0 in them.

    Args:
        found: Differences, shape [r, n].
        scales: Size of the scores of each row, shape [r].
        seed: Seed of the draws of sign-flip tests that are not exact.
    """
    p_values, few = t_where_enough(found, scales)
    p_values[few] = sign_flip_p_values([row[row != 0] for row in found[few]], seed=seed)
    return p_values


def t_where_enough(found: FloatArray, scales: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return the p-values of the rows in which enough documents differ for t (1.0 in the others), and which rows are the others."""
    n = found.shape[1]
    p_values = np.ones(len(found))
    enough = np.count_nonzero(found, axis=1) >= FEWEST_FOR_T
    many = np.flatnonzero(enough)
    if many.size:
        means, errors = moments(found[many])
        spread = has_spread(errors, n, scales[many])
        p_values[many[spread]] = t_p_values(means[spread], errors[spread], n)
        p_values[many[~spread]] = _p_of_one_size(n)
    return p_values, np.flatnonzero(~enough)


def statistics_p_value(
    before: FloatArray,
    after: FloatArray,
    values: tuple[FloatArray, FloatArray],
    fn: ScoreFunction,
    *,
    seed: int,
) -> float:
    """Return the p-value of two corpus scores, from statistics [n, k] and their pseudo-values [n]."""
    differ = differing_rows(before, after)
    difference = (values[1] - values[0])[None, :]
    if differ.sum() >= FEWEST_FOR_T:
        means, errors = moments(difference)
        if has_spread(errors, len(before), np.array([size_of(*values)]))[0]:
            return float(t_p_values(means, errors, len(before))[0])
        return _p_of_one_size(len(before))
    sums = before.sum(axis=0), after.sum(axis=0)
    return swap_p_value(before[differ], after[differ], sums, fn, seed=seed)


def _p_of_one_size(n: int) -> float:
    """The exact sign-flip p-value where all n differences are the same number: only all signs alike are as extreme."""
    return max(SMALLEST_P, 2.0 ** (1 - n))


def differing_rows(before: FloatArray, after: FloatArray) -> NDArray[np.bool_]:
    """Which documents' statistics differ, bool [n], from two tables [n, k]."""
    return np.asarray((np.abs(after - before) > TIE * size_of(before, after)).any(axis=1))


def zeros_and_ones(values: FloatArray) -> FloatArray:
    """Return exact zeros and ones of the same shape.

    Raises:
        ValueError: If a value is neither 0 nor 1, but for rounding.
    """
    exact = np.rint(values)
    if not (np.isin(exact, (0.0, 1.0)).all() and np.allclose(values, exact, rtol=0, atol=TIE)):
        raise ValueError("rates take values 0 and 1 only: compare means instead")
    return exact
