"""Intervals against scipy, statsmodels and the plain way to resample; their edges."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from harness.stats import (
    Interval,
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_statistic,
    resampling,
    wilson_interval,
)
from harness.stats.bootstrap import percentile_interval
from harness.stats.resampling import resampled_sums


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 1), (37, 50), (9000, 11490)])
def test_wilson_equals_statsmodels(successes: int, n: int) -> None:
    low, high = proportion_confint(successes, n, method="wilson")
    ours = wilson_interval(successes, n)
    assert ours.low == pytest.approx(low, abs=1e-12)
    assert ours.high == pytest.approx(high, abs=1e-12)


@pytest.mark.parametrize("n", [1, 3, 10, 77, 11490])
def test_wilson_touches_0_and_1_exactly(n: int) -> None:
    assert wilson_interval(0, n).low == 0.0
    assert wilson_interval(n, n).high == 1.0


def test_bca_agrees_with_scipy_on_a_skewed_sample() -> None:
    values = np.random.default_rng(0).exponential(size=50)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=50_000, method="BCa", rng=1
    ).confidence_interval
    ours = bootstrap_interval(values, n_resamples=50_000)
    assert ours.low == pytest.approx(theirs.low, abs=0.015)
    assert ours.high == pytest.approx(theirs.high, abs=0.015)


def test_a_ratio_of_sums_agrees_with_scipy() -> None:
    generator = np.random.default_rng(2)
    table = generator.integers(1, 20, (80, 2)).astype(float)
    theirs = scipy_stats.bootstrap(
        (table[:, 0], table[:, 1]),
        lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=50_000,
        method="BCa",
        rng=1,
    ).confidence_interval
    ours = bootstrap_statistic(table, lambda sums: sums[:, 0] / sums[:, 1], n_resamples=50_000)
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


@pytest.mark.parametrize("n", [2, 9, 300, 20_000])
def test_sums_are_those_of_the_documents_drawn_one_by_one(n: int) -> None:
    table = np.random.default_rng(n).random((n, 3))
    generator = np.random.default_rng(7)
    expected = [table[generator.integers(0, n, size=n, dtype=np.int32)].sum(axis=0) for _ in range(40)]
    for _ in range(2):  # drawn, then kept
        assert resampled_sums(table, n_resamples=40, seed=7) == pytest.approx(np.array(expected), rel=1e-12)


def test_the_interval_does_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(301)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(resampling, "_BLOCK_CELLS", 1000)
    monkeypatch.setattr(resampling, "_KEPT_BYTES", 0)
    parts = bootstrap_interval(values)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


def test_kept_counts_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_KEPT_BYTES", 50_000)
    for n in range(50, 200, 10):
        resampled_sums(np.ones((n, 1)), n_resamples=100, seed=0)
        assert sum(kept.nbytes for kept in resampling._kept.values()) <= 50_000
    assert (190, 100, 0) in resampling._kept
    assert (50, 100, 0) not in resampling._kept


def test_columns_together_give_what_each_gives_alone() -> None:
    columns = np.random.default_rng(3).beta(2, 5, (60, 4))
    for j, together in enumerate(bootstrap_intervals(columns)):
        alone = bootstrap_interval(columns[:, j])
        assert (together.low, together.high) == pytest.approx((alone.low, alone.high), rel=1e-12)


@pytest.mark.parametrize("value", [0.5, 0.1, 1 / 3, 0.0, 1e6])
def test_equal_values_give_no_width_and_one_value_no_interval(value: float) -> None:
    same = bootstrap_interval([value] * 9)
    assert same.low == same.high == pytest.approx(value)
    single = bootstrap_interval([value])
    assert math.isnan(single.low)
    assert math.isnan(single.high)


def test_an_extreme_correction_gives_limits_that_are_replicates() -> None:
    values = np.concatenate([np.zeros(400), [1e3]])
    found = bootstrap_interval(values, n_resamples=200, confidence=0.999)
    assert 0 <= found.low < found.high <= 1e3
    assert isinstance(found, Interval)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [1.0, float("inf")]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"not finite|n >= 1"):
        bootstrap_interval(values)


@pytest.mark.parametrize(("n", "repeats", "low", "high"), [(100, 300, 0.90, 0.99)])
def test_coverage(n: int, repeats: int, low: float, high: float) -> None:
    generator = np.random.default_rng(20)
    covered = [2 / 7 in bootstrap_interval(generator.beta(2, 5, n)) for _ in range(repeats)]
    assert low <= np.mean(covered) <= high  # four standard errors of 0.945 over 300 repeats: 0.05


@pytest.mark.slow
def test_coverage_closely() -> None:
    test_coverage(200, 4000, 0.93, 0.96)


def test_a_measure_of_samples_has_scipys_percentile_interval() -> None:
    """Of the mean, where scipy draws other resamples; and of one that is not defined for every draw."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).exponential(size=80)
    ours = percentile_interval(lambda index: float(values[index].mean()), 80, n_resamples=4000)
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)
    some = percentile_interval(
        lambda i: float(values[i].mean()) if i[0] % 2 else math.nan, 80, n_resamples=4000
    )
    assert (some.low, some.high) == pytest.approx((ours.low, ours.high), abs=0.06 * width)
    none = percentile_interval(lambda _: math.nan, 3)
    assert math.isnan(none.low)
    assert math.isnan(none.high)
