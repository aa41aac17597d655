"""The size of a paired difference in units of its own spread.

d_z is the mean of the per-document differences over their standard deviation. Its interval is the delta method's, for differences
of any shape: Var(d) = [1 - d g1 + d^2 (g2 + 2) / 4] / n with skewness g1 and excess kurtosis g2. For normal differences that is the
known (1 + d^2 / 2) / n.

Source: Cohen (1988), section 2.3.5; Lakens (2013), Frontiers in Psychology 4:863, eq. 6; the variance follows from those of mean
and variance and their covariance, e.g. Cramer (1946), sections 27.4 and 27.7.
"""

from __future__ import annotations

import numpy as np

from harness.stats.bootstrap import Interval
from harness.stats.student import t_quantile
from harness.stats.ties import FloatArray, settled, size_of, varies

FEWEST_DIFFERING = 10
"""Below this, skewness and kurtosis are guesses, and the interval holds the truth too rarely (docs/statistics.md)."""


def effect_size(difference: FloatArray, *, confidence: float) -> tuple[float | None, Interval | None]:
    """Return d_z and its interval.

    Args:
        difference: Candidate minus baseline, shape [n]; rounding noise must be 0.0 in it.
        confidence: Nominal coverage of the interval.

    Returns:
        None and None where nothing varies; no interval where fewer than `FEWEST_DIFFERING` differ, or where its variance vanishes.
    """
    n = len(difference)
    if n < 2 or not varies(difference, size_of(difference)):
        return None, None
    centred = difference - difference.mean()
    square = float((centred**2).mean())
    d = settled(float(difference.mean()) / (square * n / (n - 1)) ** 0.5, 1.0)
    skewness = float((centred**3).mean()) / square**1.5
    excess = float((centred**4).mean()) / square**2 - 3
    variance = (1 - d * skewness + d * d * (excess + 2) / 4) / n
    if variance <= 1e-9 / n or np.count_nonzero(difference) < FEWEST_DIFFERING:
        return d, None
    half = t_quantile((1 + confidence) / 2, n) * float(np.sqrt(variance))
    return d, Interval.around(d, half)
