"""Paired comparison of two systems that answered the same documents.

Every test looks only at how the two systems differ on the same document, so a hard document costs neither of them. Rates are tested
by McNemar's exact test. Means and corpus scores are tested by Student's t on the per-document differences where at least
`FEWEST_FOR_T` documents differ (of a corpus score: on the differences of its pseudo-values), and by a permutation test below, which
holds its level at any number of documents. Every p-value is two-sided and above 0.

What counts is the number of documents on which the systems differ, not n: where 4 of 10,000 differ, all by as much and in one
direction, t says p = 0.046, and the tosses of four coins 0.125.

Sources: Bonett and Price (2012), JEBS 37(4), eq. 3 (interval of a paired difference of rates); `harness.stats.mcnemar`,
`harness.stats.permutation`, `harness.stats.student` and `harness.stats.jackknife` name those of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.stats.bootstrap import Interval, ScoreFunction
from harness.stats.corpus import corpus_p_value, corpus_system, differing_documents
from harness.stats.effect import effect_size
from harness.stats.mcnemar import detectable_rate, mcnemar
from harness.stats.permutation import EXACT_SIGNS, EXACT_SWAPS, N_DRAWS
from harness.stats.rows import FEWEST_FOR_T, SEED, mean_p_values, zeros_and_ones
from harness.stats.student import has_spread, moments, t_quantile
from harness.stats.ties import FloatArray, differences, settled, size_of

FEWEST_FOR_VERDICT = 10
"""Documents below which no verdict should be given, whatever p is."""
MCNEMAR, SIGN_FLIP, SIGN_FLIP_EXACT = "McNemar exact", "sign-flip", "sign-flip exact"
SWAP, SWAP_EXACT, PAIRED_T = "swap", "swap exact", "paired t"
_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Candidate minus baseline on the same documents, in the unit of the score. No number in it is ever NaN."""

    baseline: float
    """Score of the baseline."""
    candidate: float
    """Score of the candidate."""
    interval: Interval | None
    """Interval of `delta`; None for a single document, or where all documents differ alike, so that no spread is known."""
    p_value: float
    """Two-sided p-value of no difference, before any correction for several tests; in (0, 1]."""
    test: str
    """Name of the test, as printed."""
    n: int
    """Documents that both systems answered."""
    differing: int
    """Documents on which they differ, which are all that a test can go by."""
    standard_error: float | None
    """Standard error of `delta`; None where `interval` is."""
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
        """Candidate minus baseline; 0.0 where they are equal but for rounding."""
        return settled(self.candidate - self.baseline, max(abs(self.baseline), abs(self.candidate)))

    def detectable(self, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
        """Return the smallest true |delta| that a two-sided test finds with probability `power` at this n.

        Of a rate from the exact power of McNemar's test, with as many discordant documents as were found. Otherwise
        (q_{1 - alpha / 2} + q_power) times the standard error, with quantiles q of Student's t: where most documents tie, the
        permutation test finds such a difference less often (docs/statistics.md).

        Returns:
            None where the standard error is unknown, or where no outcome of the test over as many differing documents has
            p <= alpha.
        """
        if self.standard_error is None:
            return None
        if self.test == MCNEMAR:
            discordant = (self.differing + 2) / (self.n + 2)
            return detectable_rate(self.n, discordant, alpha=alpha, power=power)
        if self._smallest_p() > alpha:
            return None
        return (t_quantile(1 - alpha / 2, self.n) + t_quantile(power, self.n)) * self.standard_error

    def _smallest_p(self) -> float:
        """What the test gives if all documents that differ do so in one direction."""
        if self.differing >= FEWEST_FOR_T:
            return 0.0
        is_exact = self.test in (SIGN_FLIP_EXACT, SWAP_EXACT)
        return 2.0 ** (1 - self.differing) if is_exact else 1 / (1 + N_DRAWS)


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
    before, after = (zeros_and_ones(column) for column in _pair(baseline, candidate))
    n = len(before)
    wins, losses = int((after > before).sum()), int((after < before).sum())
    exact, mid = mcnemar(losses, wins)
    gained, lost = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    error = ((gained + lost - (gained - lost) ** 2) / (n + 2)) ** 0.5
    half = _NORMAL.inv_cdf((1 + confidence) / 2) * error
    effect, effect_interval = effect_size(after - before, confidence=confidence)
    return Difference(
        baseline=float(before.mean()),
        candidate=float(after.mean()),
        interval=Interval(max(-1.0, gained - lost - half), min(1.0, gained - lost + half)),
        p_value=exact,
        mid_p=mid,
        test=MCNEMAR,
        n=n,
        differing=wins + losses,
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
    confidence: float = 0.95,
    seed: int = SEED,
) -> Difference:
    """Compare two means over the same n documents: sign-flip test, or Student's t from `FEWEST_FOR_T` differing documents on.

    Args:
        baseline: One score per document, shape [n].
        candidate: One score per document, shape [n], in the same order.
        confidence: Nominal coverage of the intervals.
        seed: Seed of the draws of a sign-flip test that is not exact.

    Raises:
        ValueError: Unequal or zero length, or a value that is not finite.
    """
    before, after = _pair(baseline, candidate)
    scale = size_of(before, after)
    difference = differences(before, after)
    differing = int(np.count_nonzero(difference))
    error = _standard_error(difference, scale)
    test = _test_of(differing, SIGN_FLIP, SIGN_FLIP_EXACT, EXACT_SIGNS)
    if test == PAIRED_T and error is None:
        test = SIGN_FLIP_EXACT
    effect, effect_interval = (
        (None, None) if error is None else effect_size(difference, confidence=confidence)
    )
    score_before, score_after = (settled(float(column.mean()), scale) for column in (before, after))
    return Difference(
        baseline=score_before,
        candidate=score_after,
        interval=_t_interval(score_after - score_before, scale, error, len(before), confidence),
        p_value=float(mean_p_values(difference[None, :], np.array([scale]), seed=seed)[0]),
        test=test,
        n=len(before),
        differing=differing,
        standard_error=error,
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
    confidence: float = 0.95,
    seed: int = SEED,
) -> Difference:
    """Compare two corpus scores, functions of summed per-document statistics.

    By swaps of the documents' statistics, or Student's t on the pseudo-values from `FEWEST_FOR_T` differing documents on.

    Args:
        baseline: Sufficient statistics per document, shape [n, k].
        candidate: The same for the candidate, shape [n, k], in the same order.
        fn: Maps summed statistics [b, k] to scores [b]; see `bootstrap_statistic`.
        confidence: Nominal coverage of the interval.
        seed: Seed of the draws of a swap test that is not exact.

    Raises:
        ValueError: Unequal shapes, no documents, or a value or score that is not finite.
    """
    if np.shape(baseline) != np.shape(candidate):
        raise ValueError(
            f"need two tables of one shape [n, k], not {np.shape(baseline)} and {np.shape(candidate)}"
        )
    before, after = corpus_system(baseline, fn), corpus_system(candidate, fn)
    scores = fn(np.stack([before.sums, after.sums]))
    n, differing = len(before.values), int(differing_documents(before, after).sum())
    scale = max(before.value_size, after.value_size)
    error = _standard_error(after.values - before.values, scale) if differing else None
    test = _test_of(differing, SWAP, SWAP_EXACT, EXACT_SWAPS)
    return Difference(
        baseline=float(scores[0]),
        candidate=float(scores[1]),
        interval=_t_interval(float(scores[1] - scores[0]), scale, error, n, confidence),
        p_value=corpus_p_value(before, after, fn, seed=seed),
        test=test,
        n=n,
        differing=differing,
        standard_error=error,
        effect_size=None,
        effect_interval=None,
    )


def _test_of(differing: int, drawn: str, exact: str, most_exact: int) -> str:
    if differing >= FEWEST_FOR_T:
        return PAIRED_T
    return exact if differing <= most_exact else drawn


def _standard_error(difference: FloatArray, scale: float) -> float | None:
    if len(difference) < 2:
        return None
    _, errors = moments(difference[None, :])
    return float(errors[0]) if has_spread(errors, len(difference), np.array([scale]))[0] else None


def _t_interval(
    delta: float, scale: float, error: float | None, n: int, confidence: float
) -> Interval | None:
    if error is None:
        return None
    half = t_quantile((1 + confidence) / 2, n) * error
    return Interval.around(settled(delta, scale), half)


def _pair(
    baseline: Sequence[float] | FloatArray, candidate: Sequence[float] | FloatArray
) -> tuple[FloatArray, FloatArray]:
    before, after = np.asarray(baseline, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if before.ndim != 1 or before.shape != after.shape or len(before) == 0:
        raise ValueError(f"need two columns of one length, not shapes {before.shape} and {after.shape}")
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        raise ValueError("scores hold a value that is not finite: leave failed samples out")
    return before, after
