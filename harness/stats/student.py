"""Student's t on rows of paired differences, many rows at once.

Sources: Student (1908), Biometrika 6(1); the distribution function is scipy's, correct to 1e-13 of the p-value down to 1e-300.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from harness.stats.ties import TIE, FloatArray

SMALLEST_P = sys.float_info.min
"""A p-value is never 0: one below the smallest normal double (2e-308) is stated as that."""


def moments(differences: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return means and standard errors of the rows of `differences` [r, n], n >= 2, each of shape [r]."""
    n = differences.shape[1]
    means: FloatArray = differences.mean(axis=1)
    centred = differences - means[:, None]
    centred *= centred  # and not einsum, whose last bits depend on the number of rows
    squares: FloatArray = centred.sum(axis=1)
    return means, np.sqrt(squares / (n - 1) / n)


def t_p_values(means: FloatArray, errors: FloatArray, n: int) -> FloatArray:
    """Return two-sided p-values of means over their standard errors, with n - 1 degrees of freedom.

    Args:
        means: Shape [r].
        errors: Positive, shape [r].
        n: Documents.
    """
    from scipy.special import stdtr

    p_values: FloatArray = 2 * stdtr(n - 1, -np.abs(means) / errors)
    return np.clip(p_values, SMALLEST_P, 1.0)


def t_quantile(probability: float, n: int) -> float:
    """Return the quantile of Student's t with n - 1 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, probability))


def has_spread(errors: FloatArray, n: int, scales: FloatArray) -> NDArray[np.bool_]:
    """Whether standard errors [r] are more than rounding noise beside scores of size `scales` [r]."""
    return np.asarray(errors * n**0.5 > TIE * scales)
