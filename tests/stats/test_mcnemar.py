"""McNemar's exact test against scipy, statsmodels and whole numbers; the power that it has."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from harness.stats import mcnemar
from harness.stats.mcnemar import detectable_rate, mcnemar_p_values


def exactly(losses: int, wins: int) -> tuple[float, float]:
    """By whole numbers, for any counts."""
    n, k = losses + wins, min(losses, wins)
    term = tail = 1
    for i in range(1, k + 1):
        term = term * (n - i + 1) // i
        tail += term
    return float(min(Fraction(1), Fraction(2 * tail, 2**n))), float(
        min(Fraction(1), Fraction(2 * tail - term, 2**n))
    )


@pytest.mark.parametrize(
    ("losses", "wins"),
    [
        *[(0, 0), (0, 1), (3, 3), (3, 4), (2, 11), (32, 33), (40, 17), (120, 180), (500, 500)],
        *[(0, 900), (5, 1045), (4800, 5200), (3200, 6800), (5600, 5890)],  # far into the tail, and many
    ],
)
def test_the_exact_test_by_whole_numbers_scipy_and_statsmodels(losses: int, wins: int) -> None:
    exact, mid = mcnemar(losses, wins)
    expected, expected_mid = exactly(losses, wins)
    assert exact == pytest.approx(expected, rel=1e-11, abs=0)
    assert mid == pytest.approx(expected_mid, rel=1e-11, abs=0)
    if losses + wins:
        binomial = scipy_stats.binomtest(min(losses, wins), losses + wins).pvalue
        assert exact == pytest.approx(binomial, rel=1e-8, abs=0)
    table = [[5, losses], [wins, 7]]
    assert exact == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, rel=1e-8, abs=0)


def test_by_hand() -> None:
    # 1 loss, 4 wins: P(X <= 1) = (1 + 5) / 32, doubled; the mid-p takes the observed 5 / 32 off.
    assert mcnemar(1, 4) == (12 / 32, 7 / 32)
    assert mcnemar(4, 4) == (1.0, 1.0)


def test_a_p_value_is_never_0() -> None:
    assert 0 < mcnemar(0, 10_000)[0] < 1e-300
    assert 0 < mcnemar(10, 10_000)[1] < 1e-300


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 3)


def test_many_pairs_get_what_each_gets() -> None:
    counts = np.random.default_rng(0).integers(0, 300, (2, 12, 12))
    found = mcnemar_p_values(counts[0], counts[1])
    for i in range(12):
        for j in range(12):
            assert found[i, j] == mcnemar(int(counts[0, i, j]), int(counts[1, i, j]))[0]


def power_by_counting(n: int, discordant: float, difference: float, alpha: float) -> float:
    """Sum over every number of wins and losses."""
    gain, loss = (discordant + difference) / 2, (discordant - difference) / 2
    return sum(
        comb(n, wins)
        * comb(n - wins, losses)
        * gain**wins
        * loss**losses
        * (1 - discordant) ** (n - wins - losses)
        for wins in range(n + 1)
        for losses in range(n + 1 - wins)
        if exactly(losses, wins)[0] <= alpha
    )


@pytest.mark.parametrize(("n", "discordant"), [(10, 0.7), (16, 0.5), (30, 0.4), (60, 0.2)])
def test_the_detectable_rate_is_found_with_the_power_asked_for(n: int, discordant: float) -> None:
    found = detectable_rate(n, discordant, alpha=0.05, power=0.8)
    assert found is not None
    assert found <= discordant
    assert power_by_counting(n, discordant, found, 0.05) == pytest.approx(0.8, abs=1e-8)


def test_the_detectable_rate_is_the_normal_approximation_for_many_documents() -> None:
    found = detectable_rate(100_000, 0.3, alpha=0.05, power=0.8)
    assert found == pytest.approx(2.8016 * (0.3 / 100_000) ** 0.5, rel=0.01)


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.05), (5, 0.05), (10, 0.05 / 50)])
def test_where_no_outcome_is_significant_nothing_is_detectable(n: int, alpha: float) -> None:
    assert mcnemar(0, n)[0] > alpha
    assert detectable_rate(n, 0.5, alpha=alpha, power=0.8) is None
    assert detectable_rate(n + 6, 0.5, alpha=alpha, power=0.8) is not None
