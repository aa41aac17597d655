"""McNemar's exact test of two rates, from the counts of documents on which one system alone succeeds.

Sources: McNemar (1947), Psychometrika 12(2); Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91 (mid-p).
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from harness.stats.student import SMALLEST_P
from harness.stats.ties import FloatArray

_BY_INTEGERS = 64
"""Most discordant documents counted with integers; above, the incomplete beta function is correct to 1e-12 of the p-value."""


def mcnemar(losses: int, wins: int) -> tuple[float, float]:
    """Return McNemar's (exact p, mid-p) from the two discordant counts.

    Under the null each discordant document favours either system with probability 1/2. The exact test never
    exceeds its nominal level; the mid-p counts the observed table half, which is less conservative.

    Raises:
        ValueError: A negative count.
    """
    if losses < 0 or wins < 0:
        raise ValueError(f"counts must not be negative: losses={losses}, wins={wins}")
    n, smaller = losses + wins, min(losses, wins)
    at_most, below = _twice_tail(smaller, n), _twice_tail(smaller - 1, n)
    return _clipped(at_most), _clipped((at_most + below) / 2)


def mcnemar_p_values(losses: NDArray[np.int64], wins: NDArray[np.int64]) -> FloatArray:
    """Return the exact p-values of many pairs, shape of the arguments; each distinct pair of counts is computed once."""
    counts = np.stack([np.minimum(losses, wins).ravel(), (losses + wins).ravel()], axis=1)
    distinct, where = np.unique(counts, axis=0, return_inverse=True)
    p_values = np.array([_clipped(_twice_tail(int(smaller), int(n))) for smaller, n in distinct])
    return p_values[where].reshape(losses.shape)


def _twice_tail(k: int, n: int) -> float:
    """2 P(X <= k) for X binomial with n throws of a fair coin; above 1 where k is in the upper half."""
    if k < 0:
        return 0.0
    if n <= _BY_INTEGERS:
        return float(2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)
    from scipy.special import betainc

    return 2 * float(betainc(n - k, k + 1, 0.5)) if k < n else 2.0


def _clipped(p_value: float) -> float:
    return min(1.0, max(SMALLEST_P, p_value))
