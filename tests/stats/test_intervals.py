"""Intervals against scipy and statsmodels, their coverage by simulation, and their edges."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.proportion import proportion_confint

from harness.stats import bootstrap, bootstrap_interval, bootstrap_statistic, compare_means, wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 1), (37, 50), (9000, 11490)])
def test_wilson_equals_statsmodels(successes: int, n: int) -> None:
    low, high = proportion_confint(successes, n, method="wilson")
    ours = wilson_interval(successes, n)
    assert ours.low == pytest.approx(low, abs=1e-12)
    assert ours.high == pytest.approx(high, abs=1e-12)


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


def test_the_interval_does_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(301)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 1000)
    assert bootstrap_interval(values) == whole


def test_equal_values_give_no_width_and_one_value_no_interval() -> None:
    assert bootstrap_interval([0.5] * 9) == bootstrap.Interval(0.5, 0.5)
    single = bootstrap_interval([0.5])
    assert np.isnan(single.low)
    assert np.isnan(single.high)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [1.0, float("inf")]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"not finite|n >= 1"):
        bootstrap_interval(values)


def _coverage_and_false_positives(n: int, repeats: int) -> tuple[float, float]:
    """Share of intervals that hold the true mean, and of paired tests that reject a true null at 5%."""
    generator = np.random.default_rng(20)
    covered = rejected = 0
    for seed in range(repeats):
        values = generator.beta(2, 5, n)
        covered += 2 / 7 in bootstrap_interval(values, n_resamples=400, seed=seed)
        other = values + generator.normal(0, 0.1, n)
        rejected += compare_means(values, other, n_resamples=400, seed=seed).p_value <= 0.05
    return covered / repeats, rejected / repeats


def test_coverage_and_false_positive_rate() -> None:
    covered, rejected = _coverage_and_false_positives(n=100, repeats=300)
    # Four standard errors of a share of 0.95 or 0.05 over 300 repeats are 0.05.
    assert 0.90 <= covered <= 1.0
    assert rejected <= 0.10


@pytest.mark.slow
def test_coverage_and_false_positive_rate_closely() -> None:
    covered, rejected = _coverage_and_false_positives(n=200, repeats=4000)
    assert 0.93 <= covered <= 0.965
    assert 0.035 <= rejected <= 0.07
