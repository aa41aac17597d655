"""Differences at equal style: against statsmodels, and by simulation where the truth is known."""

import numpy as np
import pytest
from statsmodels.api import OLS, add_constant

from harness.stats import compare_means
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
    low, high = reference.conf_int()[0]
    assert ours.interval.low == pytest.approx(low, abs=0.01)
    assert ours.interval.high == pytest.approx(high, abs=0.01)


def test_without_a_difference_in_style_nothing_is_adjusted() -> None:
    difference = np.random.default_rng(1).normal(0.1, 0.3, 200)
    ours = adjusted_mean(difference, np.zeros((200, 2)), n_resamples=10_000)
    assert ours is not None
    assert ours.delta == pytest.approx(difference.mean())
    plain = compare_means(np.zeros(200), difference)
    assert ours.interval.low == pytest.approx(plain.interval.low, abs=1e-6)


def test_too_few_documents_or_one_covariate_twice_give_nothing() -> None:
    difference, style = simulate(np.random.default_rng(2), 29, 0.0)
    assert adjusted_mean(difference, style) is None
    assert adjusted_mean(np.tile(difference, 9), np.tile(style[:, [0, 0]], (9, 1))) is None
    assert matched_mean(difference, np.arange(29) < 30) is None


def test_matched_pairs_are_alike_in_every_covariate() -> None:
    before = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 5.0]])
    after = np.array([[0.0, 0.0], [1.05, 0.0], [2.0, 9.0]])
    assert matched_pairs(before, after).tolist() == [True, True, False]


def rates(repeats: int, n: int, effect: float, n_resamples: int) -> tuple[float, float, float]:
    """Shares: adjusted interval holds the truth, matched interval holds it, plain test rejects a difference of `effect`."""
    generator = np.random.default_rng(3)
    covered = matched_covered = rejected = matched = 0
    for _ in range(repeats):
        difference, style = simulate(generator, n, effect)
        adjusted = adjusted_mean(difference, style, n_resamples=n_resamples)
        assert adjusted is not None
        covered += effect in adjusted.interval
        baseline = generator.normal(3.0, 0.5, (n, 2))
        pairs = matched_mean(difference, matched_pairs(baseline, baseline + style), n_resamples=n_resamples)
        if pairs is not None:
            matched += 1
            matched_covered += effect in pairs.interval
        rejected += 0.0 not in compare_means(np.zeros(n), difference, n_resamples=n_resamples).interval
    return covered / repeats, matched_covered / max(matched, 1), rejected / repeats


def test_no_effect_but_longer_text_is_found_out() -> None:
    covered, matched_covered, rejected = rates(200, 600, 0.0, 300)
    assert rejected > 0.95  # the plain difference takes length for quality
    assert 0.88 <= covered <= 0.99  # four standard errors of 0.95 over 200 repeats: 0.06
    assert matched_covered >= 0.85


@pytest.mark.slow
def test_coverage_closely() -> None:
    covered, matched_covered, _ = rates(3000, 600, 0.05, 1000)
    assert 0.93 <= covered <= 0.965
    assert 0.90 <= matched_covered <= 0.97
