"""Differences at equal style: against statsmodels, and by simulation where the truth is known."""

import numpy as np
import pytest
from statsmodels.api import OLS, add_constant

from harness.stats import bootstrap_interval, compare_means
from harness.stats.matched import adjusted_mean, matched_mean, matched_pairs


def simulate(generator: np.random.Generator, n: int, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """Differences of score and of two style covariates: the candidate writes longer text, which alone raises its score."""
    style = generator.normal([0.2, -0.1], [0.4, 0.2], (n, 2))
    noise = generator.exponential(0.2, n) - 0.2  # skewed, and no wider where style differs more
    return effect + style @ [0.3, 0.1] + noise * (1 + np.abs(style[:, 0])), style


def test_the_adjusted_difference_is_the_intercept_of_statsmodels() -> None:
    difference, style = simulate(np.random.default_rng(0), 400, 0.05)
    reference = OLS(difference, add_constant(style)).fit(cov_type="HC3")
    ours = adjusted_mean(difference, style)
    assert ours is not None
    assert ours.delta == pytest.approx(reference.params[0], abs=1e-9)
    assert ours.interval is not None
    low, high = reference.conf_int()[0]
    assert ours.interval.low == pytest.approx(low, abs=0.01)
    assert ours.interval.high == pytest.approx(high, abs=0.01)


def test_without_a_difference_in_style_nothing_is_adjusted() -> None:
    difference = np.random.default_rng(1).normal(0.1, 0.3, 200)
    ours = adjusted_mean(difference, np.full((200, 2), 0.1), n_resamples=2000)
    assert ours is not None
    assert ours.delta == pytest.approx(difference.mean())
    plain = bootstrap_interval(difference, n_resamples=2000)
    assert ours.interval is not None
    assert (ours.interval.low, ours.interval.high) == pytest.approx((plain.low, plain.high))


def test_no_difference_at_all_has_no_interval() -> None:
    _, style = simulate(np.random.default_rng(2), 100, 0.0)
    for ours in (adjusted_mean(np.zeros(100), style), matched_mean(np.zeros(100), np.arange(100) < 50)):
        assert ours is not None
        assert (ours.delta, ours.interval) == (0.0, None)


def test_covariates_next_to_collinear_give_nothing() -> None:
    difference, style = simulate(np.random.default_rng(5), 400, 0.0)
    other = np.random.default_rng(6).normal(0, 0.4, 400)
    for closeness, given in ((1e-9, False), (1e-4, False), (1e-2, True)):
        both = np.column_stack([style[:, 0], style[:, 0] + closeness * other])
        assert (adjusted_mean(difference, both, n_resamples=50) is not None) == given


def test_too_few_documents_or_one_covariate_twice_give_nothing() -> None:
    difference, style = simulate(np.random.default_rng(2), 29, 0.0)
    assert adjusted_mean(difference, style) is None
    assert adjusted_mean(np.tile(difference, 9), np.tile(style[:, [0, 0]], (9, 1))) is None
    assert matched_mean(difference, np.arange(29) < 30) is None


def test_matched_pairs_are_alike_in_every_covariate() -> None:
    before = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 5.0]])
    after = np.array([[0.0, 0.0], [1.05, 0.0], [2.0, 9.0]])
    assert matched_pairs(before, after).tolist() == [True, True, False]


def test_a_pair_at_the_caliper_is_in_whatever_the_last_bits_are() -> None:
    before = np.array([[0.0], [2.0]])
    for offset in (0.0, 3e-16, -3e-16):  # the spread of both systems together is 1
        after = before + np.array([[0.2 + offset], [-0.2 - offset]])
        spread = np.concatenate([before, after]).std()
        assert matched_pairs(before, after, caliper=0.2 / spread).all()
    assert not matched_pairs(before, before + 0.21, caliper=0.2).any()
    assert matched_pairs(np.ones((3, 1)), np.ones((3, 1)) + 1e-16).all()


def rates(repeats: int, n: int, effect: float, n_resamples: int) -> tuple[float, float, float]:
    """Shares: adjusted interval holds the truth, matched interval holds it, plain test rejects a difference of `effect`."""
    generator = np.random.default_rng(3)
    covered = matched_covered = rejected = matched = 0
    for _ in range(repeats):
        difference, style = simulate(generator, n, effect)
        adjusted = adjusted_mean(difference, style, n_resamples=n_resamples)
        assert adjusted is not None
        assert adjusted.interval is not None
        covered += effect in adjusted.interval
        baseline = generator.normal(3.0, 0.5, (n, 2))
        pairs = matched_mean(difference, matched_pairs(baseline, baseline + style), n_resamples=n_resamples)
        if pairs is not None and pairs.interval is not None:
            matched += 1
            matched_covered += effect in pairs.interval
        rejected += compare_means(np.zeros(n), difference).p_value <= 0.05
    return covered / repeats, matched_covered / max(matched, 1), rejected / repeats


def test_no_effect_but_longer_text_is_found_out() -> None:
    covered, matched_covered, rejected = rates(200, 600, 0.0, 300)
    assert rejected > 0.95  # the plain difference takes length for quality
    assert 0.88 <= covered <= 0.99  # four standard errors of 0.95 over 200 repeats: 0.06
    assert 0.85 <= matched_covered <= 0.99


@pytest.mark.slow
def test_coverage_closely() -> None:
    covered, matched_covered, _ = rates(3000, 600, 0.05, 1000)
    assert 0.93 <= covered <= 0.965
    assert 0.90 <= matched_covered <= 0.97
