"""Tests hold their level and intervals their coverage where the truth is known: two-sided bounds, at small n too.

`benchmarks/paired_tests.py` prints the same for more kinds of scores; docs/statistics.md holds its table.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest

from harness.stats import (
    compare_means,
    compare_rates,
    compare_statistics,
    holm,
    mcnemar,
    pairwise_p_values,
)

Pair = tuple[np.ndarray, np.ndarray]


def rouge_like(generator: np.random.Generator, n: int) -> Pair:
    difficulty = generator.beta(2, 5, n)
    return difficulty + generator.normal(0, 0.1, n), difficulty + generator.normal(0, 0.1, n)


def skewed(generator: np.random.Generator, n: int) -> Pair:
    """Means are equal, shapes are not: the candidate is mostly a little worse and sometimes much better."""
    difficulty = generator.beta(2, 5, n)
    return difficulty + generator.normal(0, 0.03, n), difficulty + generator.exponential(0.1, n) - 0.1


def tied(generator: np.random.Generator, n: int) -> Pair:
    first, second = generator.integers(0, 4, (2, n)) / 3
    return first, np.where(generator.random(n) < 0.8, first, second)


def ratios(generator: np.random.Generator, n: int) -> Pair:
    totals = generator.integers(20, 200, (2, n))
    chance = np.clip(generator.normal(0.5, 0.1, n), 0.05, 0.9)
    tables = [np.column_stack([generator.binomial(total, chance), total]).astype(float) for total in totals]
    return tables[0], tables[1]


def compare_ratios(before: np.ndarray, after: np.ndarray):
    return compare_statistics(before, after, lambda sums: sums[:, 0] / sums[:, 1])


def band(share: float, repeats: int) -> tuple[float, float]:
    """Four standard errors around a share."""
    half = 4 * math.sqrt(share * (1 - share) / repeats)
    return share - half, share + half


def simulate(make: Callable[..., Pair], compare: Callable, n: int, repeats: int) -> tuple[float, float]:
    """Shares of repeats without a difference: p <= 0.05, and 0 in the interval (of those that have one)."""
    generator = np.random.default_rng(n)
    wrong, covered = 0, []
    for _ in range(repeats):
        found = compare(*make(generator, n))
        wrong += found.p_value <= 0.05
        if found.interval is not None:
            covered.append(0.0 in found.interval)
    return wrong / repeats, float(np.mean(covered))


def attainable(n: int) -> float:
    """What an exact two-sided sign-flip test without ties rejects at 0.05: a multiple of 2 / 2^n."""
    return math.floor(0.05 * 2**n / 2) * 2 / 2**n


def check(
    make: Callable[..., Pair], compare: Callable, n: int, repeats: int, level: tuple[float, float]
) -> None:
    wrong, covered = simulate(make, compare, n, repeats)
    low, high = band(level[0], repeats)[0], band(level[1], repeats)[1]
    assert low <= wrong <= high
    assert 0.90 <= covered <= 0.995


@pytest.mark.parametrize("n", [3, 5, 8, 10, 16, 24])
def test_exact_sign_flips_reject_as_often_as_their_counts_allow(n: int) -> None:
    wrong, _ = simulate(rouge_like, compare_means, n, 2000)
    low, high = band(attainable(n), 2000)
    assert low <= wrong <= high


@pytest.mark.parametrize(("n", "repeats"), [(30, 250), (50, 1500), (200, 1500)])
def test_means_hold_their_level(n: int, repeats: int) -> None:
    check(rouge_like, compare_means, n, repeats, (0.05, 0.05))


@pytest.mark.parametrize("n", [50, 200])
def test_skewed_differences_are_a_little_liberal(n: int) -> None:
    check(skewed, compare_means, n, 1500, (0.05, 0.07))


@pytest.mark.parametrize("n", [20, 100, 400])
def test_ties_make_the_test_conservative_at_most(n: int) -> None:
    check(tied, compare_means, n, 400, (0.0, 0.05))


@pytest.mark.parametrize(("n", "repeats"), [(5, 1000), (10, 1000), (50, 1000), (200, 1000)])
def test_corpus_scores_hold_their_level(n: int, repeats: int) -> None:
    expected = min(0.05, attainable(n))
    check(ratios, compare_ratios, n, repeats, (expected, expected))


def test_mcnemar_and_holm_hold_their_level() -> None:
    generator = np.random.default_rng(9)
    repeats, n = 2000, 150
    wrong = family = 0
    for _ in range(repeats):
        chance = 0.5 + generator.uniform(-0.2, 0.2, n)
        first, *others = (generator.random((4, n)) < chance).astype(float)
        p_values = [mcnemar(int((other < first).sum()), int((other > first).sum()))[0] for other in others]
        wrong += p_values[0] <= 0.05
        family += min(holm(p_values)) <= 0.05
    # four standard errors of a share of 0.05 over 2000 repeats are 0.02; the exact test stays below its level
    assert 0.015 <= wrong / repeats <= 0.05
    assert 0.005 <= family / repeats <= 0.05


def test_the_interval_of_a_difference_of_rates_holds_it() -> None:
    generator = np.random.default_rng(10)
    repeats, n, effect = 400, 150, 0.1
    covered = 0
    for _ in range(repeats):
        chance = 0.5 + generator.uniform(-0.2, 0.2, n)
        pair = (
            (generator.random(n) < chance).astype(float),
            (generator.random(n) < chance + effect).astype(float),
        )
        interval = compare_rates(*pair).interval
        assert interval is not None
        covered += effect in interval
    low, high = band(0.95, repeats)
    assert low <= covered / repeats <= high


@pytest.mark.parametrize("n", [12, 60])
def test_equal_models_share_their_rank(n: int) -> None:
    generator = np.random.default_rng(n)
    repeats, above = 400, np.triu_indices(10, 1)
    wrong = 0
    for _ in range(repeats):
        scores = generator.beta(2, 5, n) + generator.normal(0, 0.1, (10, n))
        wrong += min(holm(pairwise_p_values(scores, rates=False)[above])) <= 0.05
    assert 0.0 < wrong / repeats <= band(0.05, repeats)[1]


@pytest.mark.slow
@pytest.mark.parametrize("n", [8, 10, 16, 20, 30, 50, 200])
def test_levels_closely(n: int) -> None:
    exact = attainable(n)
    check(rouge_like, compare_means, n, 4000, (exact, exact))
    check(ratios, compare_ratios, n, 4000 if n <= 10 or n >= 50 else 1000, (exact, exact))
