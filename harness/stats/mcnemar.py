"""McNemar's exact test of two rates, from the counts of documents on which one system alone succeeds.

Sources: McNemar (1947), Psychometrika 12(2); Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91 (mid-p);
Duffy (1984), Biometrics 40(4) (exact unconditional power).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from statistics import NormalDist

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


@lru_cache(maxsize=256)
def detectable_rate(n: int, discordant: float, *, alpha: float, power: float) -> float | None:
    """Return the smallest true difference of two rates that the exact test finds with probability `power`.

    The number of discordant documents is binomial, and of these the wins; both sums are taken in full, since the normal
    approximation promises at n = 10 twice the power that the test has.

    Args:
        n: Documents.
        discordant: Share of documents on which one system alone succeeds, in [0, 1]; a larger difference needs more of them.
        alpha: Level of the two-sided test.
        power: Probability, in (0, 1).

    Returns:
        In (0, 1]; None where not even n wins out of n reach p <= alpha.
    """
    if 2.0 ** (1 - n) > alpha:
        return None
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if _power(n, max(discordant, middle), middle, alpha) < power:
            low = middle
        else:
            high = middle
    return high


def _power(n: int, discordant: float, difference: float, alpha: float) -> float:
    """Probability that the exact test gives p <= alpha."""
    from scipy.special import betainc, gammaln, xlog1py, xlogy

    spread = 8 * (n * discordant * (1 - discordant)) ** 0.5 + 1  # beyond lies less than 1e-15
    found = np.arange(max(0, int(n * discordant - spread)), min(n, int(n * discordant + spread) + 1) + 1)
    log_share = gammaln(n + 1) - gammaln(found + 1) - gammaln(n - found + 1)
    log_share += xlogy(found, discordant) + xlog1py(n - found, -discordant)
    most = _most_losses(found, alpha)
    kept = most >= 0
    wins = min(1.0, (discordant + difference) / (2 * discordant))
    tails = [betainc((found - most)[kept], most[kept] + 1, chance) for chance in (wins, 1 - wins)]
    return float((np.exp(log_share[kept]) * (tails[0] + tails[1])).sum())


def _most_losses(discordant: NDArray[np.int64], alpha: float) -> NDArray[np.int64]:
    """The largest k with 2 P(X <= k) <= alpha for X binomial with that many throws of a fair coin; -1 where there is none."""
    from scipy.special import betainc

    def rejects(k: NDArray[np.int64]) -> NDArray[np.bool_]:
        tail = betainc(np.maximum(discordant - k, 1), np.maximum(k + 1, 1), 0.5)
        return np.asarray((k < 0) | ((2 * tail <= alpha) & (2 * k < discordant)))

    z = NormalDist().inv_cdf(1 - alpha / 2)
    k = np.maximum(np.floor((discordant - z * np.sqrt(discordant)) / 2).astype(np.int64), -1)
    while not (fine := rejects(k)).all():
        k = np.where(fine, k, k - 1)
    while (more := rejects(k + 1)).any():
        k = np.where(more, k + 1, k)
    return k


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
