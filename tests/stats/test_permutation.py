"""Permutation tests against scipy's and against counting every assignment."""

from itertools import product

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.stats import compare_means, compare_statistics
from harness.stats.permutation import EXACT_SIGNS, EXACT_SWAPS, N_DRAWS, sign_flip_p_values


def scores(seed: int, n: int, decimals: int) -> np.ndarray:
    """Differences with ties between their sums, none of them 0."""
    generator = np.random.default_rng(seed)
    found = np.round(generator.normal(0.1, 0.3, n), decimals)
    return np.where(found == 0, 10.0**-decimals, found)


def by_counting(difference: np.ndarray) -> float:
    """The share of all assignments of signs whose sum is as large; whole thousandths, so that ties are ties."""
    thousandths = np.rint(1000 * difference).astype(int)
    least = abs(thousandths.sum())
    sums = [abs((thousandths * signs).sum()) for signs in product((1, -1), repeat=len(difference))]
    return sum(total >= least for total in sums) / len(sums)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("decimals", [1, 3])
def test_sign_flips_are_counted_exactly(n: int, decimals: int) -> None:
    for seed in range(4):
        difference = scores(seed, n, decimals)
        found = compare_means(np.zeros(n), difference)
        assert found.test == "sign-flip exact"
        assert found.p_value == by_counting(difference)


@pytest.mark.parametrize("n", [5, 11, 16])
def test_sign_flips_equal_scipy(n: int) -> None:
    difference = np.random.default_rng(n).normal(0.2, 0.5, n)
    theirs = scipy_stats.permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert compare_means(np.zeros(n), difference).p_value == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("n", [EXACT_SIGNS + 1, 40, 49])
def test_drawn_sign_flips_are_near_scipy(n: int) -> None:
    difference = np.random.default_rng(n).normal(0.1, 0.3, n)
    theirs = scipy_stats.permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=50_000, rng=1
    ).pvalue
    found = compare_means(np.zeros(n), difference)
    assert found.test == "sign-flip"
    # four standard errors of both shares together
    assert found.p_value == pytest.approx(theirs, abs=4 * (theirs * (1 / 50_000 + 1 / N_DRAWS)) ** 0.5)


def test_exact_and_drawn_agree_where_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [scores(seed, EXACT_SIGNS, 2) for seed in range(6)]
    exact = sign_flip_p_values(rows, seed=1)
    monkeypatch.setattr("harness.stats.permutation.EXACT_SIGNS", 0)
    drawn = sign_flip_p_values(rows, seed=1)
    assert (drawn != exact).any()
    assert drawn == pytest.approx(exact, abs=4 * (0.25 / N_DRAWS) ** 0.5)


def test_a_drawn_p_value_counts_what_was_observed() -> None:
    assert compare_means(np.zeros(40), np.linspace(0.1, 0.2, 40)).p_value == 1 / (1 + N_DRAWS)
    assert compare_means(np.zeros(3), [0.1, 0.2, 0.4]).p_value == 0.25  # three documents cannot say more


def ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


def tables(n: int, effect: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(n)
    totals = generator.integers(20, 90, (2, n))
    chance = np.clip(generator.normal(0.5, 0.1, n), 0.1, 0.8)
    hits = [generator.binomial(totals[0], chance), generator.binomial(totals[1], chance + effect)]
    return np.column_stack([hits[0], totals[0]]).astype(float), np.column_stack([hits[1], totals[1]]).astype(
        float
    )


def through_scipy(before: np.ndarray, after: np.ndarray, **options: object) -> float:
    rows = np.concatenate([before, after])

    def statistic(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        sums = [rows[np.moveaxis(chosen, axis, -1)].sum(axis=-2) for chosen in (first, second)]
        return sums[1][..., 0] / sums[1][..., 1] - sums[0][..., 0] / sums[0][..., 1]

    ids = np.arange(len(before)), np.arange(len(before)) + len(before)
    return scipy_stats.permutation_test(
        ids, statistic, permutation_type="samples", vectorized=True, **options
    ).pvalue


@pytest.mark.parametrize("n", [2, 5, 10])
def test_swaps_of_statistics_equal_scipy(n: int) -> None:
    before, after = tables(n)
    found = compare_statistics(before, after, ratio)
    assert found.test == "swap exact"
    assert found.p_value == pytest.approx(through_scipy(before, after, n_resamples=np.inf), rel=1e-12)


@pytest.mark.parametrize("n", [EXACT_SWAPS + 1, 45])
def test_drawn_swaps_are_near_scipy(n: int) -> None:
    before, after = tables(n, 0.02)
    theirs = through_scipy(before, after, n_resamples=20_000, rng=1)
    found = compare_statistics(before, after, ratio)
    assert found.test == "swap"
    assert found.p_value == pytest.approx(theirs, abs=4 * (theirs * (1 / 20_000 + 1 / N_DRAWS)) ** 0.5)


def test_documents_that_do_not_differ_change_nothing() -> None:
    difference = scores(3, 11, 3)
    alone = compare_means(np.zeros(11), difference)
    among = compare_means(np.full(500, 0.3), np.concatenate([0.3 + difference, np.full(489, 0.3)]))
    assert among.p_value == alone.p_value
    assert (among.differing, among.n, among.test) == (11, 500, "sign-flip exact")
    before, after = tables(12)
    same = np.full((100, 2), 30.0)
    found = compare_statistics(np.concatenate([before, same]), np.concatenate([after, same]), ratio)
    expected = through_scipy(
        np.concatenate([before, [[3000, 3000]]]), np.concatenate([after, [[3000, 3000]]]), n_resamples=np.inf
    )
    assert found.p_value == pytest.approx(expected, rel=1e-12)
    assert found.test == "swap exact"
