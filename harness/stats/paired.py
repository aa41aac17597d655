"""Paired comparison of two systems that answered the same documents.

Rates are tested by McNemar's exact test, means and corpus statistics by the paired bootstrap: both look
only at how the two systems differ on the same document, so a hard document costs neither of them. Every
p-value is two-sided.

Sources: McNemar (1947), Psychometrika 12(2); Fagerland, Lydersen and Laake (2013), BMC Medical Research
Methodology 13:91 (mid-p); Bonett and Price (2012), JEBS 37(4), eq. 3 (interval of a paired difference of
rates); Efron and Tibshirani (1993), section 16.4 (bootstrap test by shifting to the null); Holm (1979),
Scand. J. Statistics 6(2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import (
    FloatArray,
    Interval,
    ScoreFunction,
    bca_interval,
    bootstrap_statistic,
    resampled_sums,
)

_NORMAL = NormalDist()

_EFFECT_RESAMPLES = 2000
"""For the interval of an effect size, which needs fewer than a small p-value does."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Candidate minus baseline on the same documents, in the unit of the score."""

    baseline: float
    """Score of the baseline."""
    candidate: float
    """Score of the candidate."""
    interval: Interval
    """Interval of `delta`."""
    p_value: float
    """Two-sided p-value of no difference, before any correction for several tests."""
    test: str
    """Name of the test, as printed."""
    n: int
    """Documents that both systems answered."""
    standard_error: float
    """Standard error of `delta`; 0.0 where the two never differ."""
    effect_size: float | None
    """Mean difference over the standard deviation of the differences (d_z); None where that is undefined."""
    effect_interval: Interval | None
    """Interval of `effect_size`."""
    mid_p: float | None = None
    """McNemar's mid-p; None for other tests."""
    wins: int | None = None
    """Documents on which the candidate scores higher; None for a corpus statistic."""
    losses: int | None = None
    """Documents on which the candidate scores lower; None for a corpus statistic."""

    @property
    def delta(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline

    def detectable(self, *, alpha: float = 0.05, power: float = 0.8) -> float:
        """Return the smallest true |delta| that a two-sided test finds with probability `power` at this n.

        The normal approximation (z_{1 - alpha / 2} + z_power) times the standard error; 0.0 where that is
        unknown.
        """
        return (_NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)) * self.standard_error


def mcnemar(losses: int, wins: int) -> tuple[float, float]:
    """Return McNemar's (exact p, mid-p) from the two discordant counts.

    Under the null each discordant document favours either system with probability 1/2. The exact test never
    exceeds its nominal level; the mid-p counts the observed table half, which is less conservative.

    Raises:
        ValueError: A negative count.
    """
    if losses < 0 or wins < 0:
        raise ValueError(f"counts must not be negative: losses={losses}, wins={wins}")
    n = losses + wins
    smaller = min(losses, wins)
    # Integers of any size: no underflow at thousands of discordant documents.
    term = tail = 1
    for k in range(1, smaller + 1):
        term = term * (n - k + 1) // k
        tail += term
    return min(1.0, 2 * tail / 2**n), min(1.0, (2 * tail - term) / 2**n)


def compare_rates(
    baseline: Sequence[float] | FloatArray,
    candidate: Sequence[float] | FloatArray,
    *,
    confidence: float = 0.95,
) -> Difference:
    """Compare two rates over the same n documents with McNemar's exact test.

    Args:
        baseline: 0 or 1 per document, shape [n].
        candidate: 0 or 1 per document, shape [n], in the same order.
        confidence: Nominal coverage of the intervals.

    Raises:
        ValueError: Unequal or zero length, or a value other than 0 and 1.
    """
    before, after = _pair(baseline, candidate)
    if not np.isin(before, (0.0, 1.0)).all() or not np.isin(after, (0.0, 1.0)).all():
        raise ValueError("compare_rates takes values 0 and 1 only: use compare_means")
    n = len(before)
    wins, losses = int((after > before).sum()), int((after < before).sum())
    exact, mid = mcnemar(losses, wins)
    gained, lost = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    error = ((gained + lost - (gained - lost) ** 2) / (n + 2)) ** 0.5
    half = _NORMAL.inv_cdf((1 + confidence) / 2) * error
    effect, effect_interval = _effect_size(
        after - before, confidence=confidence, n_resamples=_EFFECT_RESAMPLES, seed=12345
    )
    return Difference(
        baseline=float(before.mean()),
        candidate=float(after.mean()),
        interval=Interval(max(-1.0, gained - lost - half), min(1.0, gained - lost + half)),
        p_value=exact,
        mid_p=mid,
        test="McNemar exact",
        n=n,
        standard_error=error,
        effect_size=effect,
        effect_interval=effect_interval,
        wins=wins,
        losses=losses,
    )


def compare_means(
    baseline: Sequence[float] | FloatArray,
    candidate: Sequence[float] | FloatArray,
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> Difference:
    """Compare two means over the same n documents with the paired bootstrap.

    Args:
        baseline: One score per document, shape [n].
        candidate: One score per document, shape [n], in the same order.
        n_resamples: Number of resamples; the smallest p-value is 1 / (n_resamples + 1).
        confidence: Nominal coverage of the intervals.
        seed: Seed of the generator.

    Raises:
        ValueError: Unequal or zero length, or a value that is not finite.
    """
    before, after = _pair(baseline, candidate)
    n, difference = len(before), after - before
    delta = float(difference.mean())
    effect, effect_interval = _effect_size(
        difference, confidence=confidence, n_resamples=min(n_resamples, _EFFECT_RESAMPLES), seed=seed
    )
    replicates = resampled_sums(difference[:, None], n_resamples=n_resamples, seed=seed)[:, 0] / n
    left_out = (difference.sum() - difference) / max(n - 1, 1)
    return Difference(
        baseline=float(before.mean()),
        candidate=float(after.mean()),
        interval=_interval(replicates, delta, left_out, confidence),
        p_value=_shifted_p(replicates, delta, difference),
        test="paired bootstrap",
        n=n,
        standard_error=float(difference.std(ddof=1) / n**0.5) if n > 1 else 0.0,
        effect_size=effect,
        effect_interval=effect_interval,
        wins=int((difference > 0).sum()),
        losses=int((difference < 0).sum()),
    )


def compare_statistics(
    baseline: FloatArray,
    candidate: FloatArray,
    fn: ScoreFunction,
    *,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> Difference:
    """Compare two corpus scores, functions of summed per-document statistics, by the paired bootstrap.

    Args:
        baseline: Sufficient statistics per document, shape [n, k].
        candidate: The same for the candidate, shape [n, k], in the same order.
        fn: Maps summed statistics [b, k] to scores [b]; see `bootstrap_statistic`.
        n_resamples: Number of resamples.
        confidence: Nominal coverage of the interval.
        seed: Seed of the generator: both systems are resampled alike.

    Raises:
        ValueError: Unequal shapes, no documents, or a value that is not finite.
    """
    before, after = np.asarray(baseline, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if before.ndim != 2 or before.shape != after.shape or len(before) == 0:
        raise ValueError(f"need two tables of one shape [n, k], not {before.shape} and {after.shape}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ValueError("statistics hold a value that is not finite: leave failed samples out")
    replicates = fn(resampled_sums(after, n_resamples=n_resamples, seed=seed)) - fn(
        resampled_sums(before, n_resamples=n_resamples, seed=seed)
    )
    sum_before, sum_after = before.sum(axis=0)[None, :], after.sum(axis=0)[None, :]
    score_before, score_after = float(fn(sum_before)[0]), float(fn(sum_after)[0])
    left_out = fn(sum_after - after) - fn(sum_before - before) if len(before) > 1 else np.zeros(1)
    delta = score_after - score_before
    return Difference(
        baseline=score_before,
        candidate=score_after,
        interval=_interval(replicates, delta, left_out, confidence),
        p_value=_shifted_p(replicates, delta, (after - before).ravel()),
        test="paired bootstrap",
        n=len(before),
        standard_error=float(replicates.std(ddof=1)),
        effect_size=None,
        effect_interval=None,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the order given: reject where one is at most alpha."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def _shifted_p(replicates: FloatArray, delta: float, difference: NDArray[np.float64]) -> float:
    """Two-sided p-value from replicates moved to the null; the observed value counts as one draw of it."""
    if len(difference) == 0 or not difference.any():
        return 1.0
    # The tolerance keeps a replicate that equals delta up to rounding on the side of the null.
    extreme = np.abs(replicates - delta) >= abs(delta) * (1 - 1e-12)
    return float((1 + extreme.sum()) / (len(replicates) + 1))


def _effect_size(
    difference: FloatArray, *, confidence: float, n_resamples: int, seed: int
) -> tuple[float | None, Interval | None]:
    """Return d_z, the mean over the standard deviation of the differences, and its interval."""
    n = len(difference)
    if n < 2 or difference.min() == difference.max():
        return None, None
    table = np.stack([np.ones(n), difference, difference**2], axis=1)
    interval = bootstrap_statistic(
        table, _standardised, n_resamples=n_resamples, confidence=confidence, seed=seed
    )
    return float(_standardised(table.sum(axis=0)[None, :])[0]), interval


def _standardised(sums: FloatArray) -> FloatArray:
    """Map summed [count, x, x^2] to mean over standard deviation; a resample without spread gives 0."""
    count, total, square = sums.T
    mean = total / count
    variance = np.maximum(square - count * mean**2, 0.0) / np.maximum(count - 1, 1)
    effects: FloatArray = np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 1e-24)
    return effects


def _interval(replicates: FloatArray, delta: float, left_out: FloatArray, confidence: float) -> Interval:
    if len(left_out) < 2:
        return Interval(float("nan"), float("nan"))
    return bca_interval(replicates, delta, left_out, confidence=confidence)


def _pair(
    baseline: Sequence[float] | FloatArray, candidate: Sequence[float] | FloatArray
) -> tuple[FloatArray, FloatArray]:
    before, after = np.asarray(baseline, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape or len(before) == 0:
        raise ValueError(f"need two columns of one length, not shapes {before.shape} and {after.shape}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ValueError("scores hold a value that is not finite: leave failed samples out")
    return before, after
