"""Which test a pair of means gets, and its p-value: shared by the comparison of two and the ranks of many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.stats.permutation import sign_flip_p_values
from harness.stats.student import SMALLEST_P, has_spread, moments, t_p_values
from harness.stats.ties import TIE, FloatArray

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
    p_values = np.ones(len(found))
    enough = np.count_nonzero(found, axis=1) >= FEWEST_FOR_T
    p_values[enough] = row_t_p_values(found[enough], scales[enough])
    return p_values, np.flatnonzero(~enough)


def row_t_p_values(found: FloatArray, scales: FloatArray) -> FloatArray:
    """Return Student's p-value of each row of differences [r, n], shape [r], also where they have no spread.

    If all are one number, only all signs alike are as extreme, and the exact sign-flip test gives 2 / 2^n; if that number is 0, 1.
    """
    n = found.shape[1]
    means, errors = moments(found)
    spread = has_spread(errors, n, scales)
    p_values = np.where(np.abs(means) > TIE * scales, max(SMALLEST_P, 2.0 ** (1 - n)), 1.0)
    p_values[spread] = t_p_values(means[spread], errors[spread], n)
    return p_values


def zeros_and_ones(values: FloatArray) -> FloatArray:
    """Return exact zeros and ones of the same shape.

    Raises:
        ValueError: If a value is neither 0 nor 1, but for rounding.
    """
    exact = np.rint(values)
    if not (np.isin(exact, (0.0, 1.0)).all() and np.allclose(values, exact, rtol=0, atol=TIE)):
        raise ValueError("rates take values 0 and 1 only: compare means instead")
    return exact
