"""Paired tests against scipy and statsmodels, against closed forms, and on the edges."""

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from harness.stats import compare_means, compare_rates, compare_statistics, holm, mcnemar


@pytest.mark.parametrize(
    ("losses", "wins"), [(0, 0), (0, 1), (3, 3), (2, 11), (40, 17), (120, 180), (1, 4000)]
)
def test_mcnemar_exact_equals_scipy_and_statsmodels(losses: int, wins: int) -> None:
    exact, mid = mcnemar(losses, wins)
    n = losses + wins
    expected = scipy_stats.binomtest(min(losses, wins), n).pvalue if n else 1.0
    assert exact == pytest.approx(expected, rel=1e-10)
    table = [[5, losses], [wins, 7]]
    assert exact == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, rel=1e-10)
    point = scipy_stats.binom.pmf(min(losses, wins), n, 0.5)
    assert mid == pytest.approx(min(1.0, expected - point), rel=1e-9) or losses == wins
    assert mid <= exact


def test_mcnemar_by_hand() -> None:
    # 1 loss, 4 wins: P(X <= 1) = (1 + 5) / 32, doubled; the mid-p takes the observed 5 / 32 off.
    assert mcnemar(1, 4) == (12 / 32, 7 / 32)
    assert mcnemar(4, 4) == (1.0, 1.0)


def test_mcnemar_is_fast_and_finite_at_full_test_size() -> None:
    exact, mid = mcnemar(5600, 5890)
    assert exact == pytest.approx(scipy_stats.binomtest(5600, 11490).pvalue, rel=1e-9)
    assert 0 < mid < exact


def test_compare_rates_reads_the_discordant_documents() -> None:
    before = [1, 1, 0, 0, 0, 0, 1, 0]
    after = [1, 0, 1, 1, 1, 0, 1, 1]
    result = compare_rates(before, after)
    assert (result.wins, result.losses, result.n) == (4, 1, 8)
    assert result.delta == pytest.approx(3 / 8)
    assert (result.p_value, result.mid_p) == mcnemar(1, 4)
    # Bonett and Price 2012, eq. 3, by hand: gained 5/10, lost 2/10.
    half = scipy_stats.norm.ppf(0.975) * ((0.7 - 0.09) / 10) ** 0.5
    assert result.interval.low == pytest.approx(0.3 - half)
    assert result.interval.high == pytest.approx(0.3 + half)


def test_compare_means_agrees_with_the_paired_t_test_at_large_n() -> None:
    generator = np.random.default_rng(3)
    before = generator.beta(2, 3, 2000)
    after = before + generator.normal(0.004, 0.1, 2000)
    result = compare_means(before, after)
    reference = scipy_stats.ttest_rel(after, before)
    assert result.p_value == pytest.approx(reference.pvalue, abs=0.02)
    low, high = reference.confidence_interval()
    assert result.interval.low == pytest.approx(low, abs=4e-4)
    assert result.interval.high == pytest.approx(high, abs=4e-4)
    assert result.standard_error == pytest.approx((after - before).std(ddof=1) / 2000**0.5)
    difference = after - before
    assert result.effect_size == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert result.effect_size in result.effect_interval


def test_compare_means_bca_interval_agrees_with_scipy() -> None:
    generator = np.random.default_rng(4)
    difference = generator.exponential(1.0, 60) - 0.8
    ours = compare_means(np.zeros(60), difference, n_resamples=20_000).interval
    theirs = scipy_stats.bootstrap(
        (difference,), np.mean, n_resamples=20_000, method="BCa", rng=1
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_a_corpus_mean_is_compared_like_a_mean() -> None:
    generator = np.random.default_rng(5)
    before, after = generator.random(300), generator.random(300)
    table = [np.stack([np.ones(300), scores], axis=1) for scores in (before, after)]
    corpus = compare_statistics(table[0], table[1], lambda sums: sums[:, 1] / sums[:, 0])
    mean = compare_means(before, after)
    assert corpus.delta == pytest.approx(mean.delta)
    assert corpus.interval.low == pytest.approx(mean.interval.low)
    assert corpus.interval.high == pytest.approx(mean.interval.high)
    assert corpus.p_value == pytest.approx(mean.p_value, abs=1e-3)
    assert corpus.standard_error == pytest.approx(mean.standard_error, rel=0.05)


def test_identical_systems_do_not_differ() -> None:
    scores = np.random.default_rng(6).random(50)
    for result in (
        compare_means(scores, scores),
        compare_rates(scores > 0.5, scores > 0.5),
        compare_statistics(scores[:, None], scores[:, None], lambda sums: sums[:, 0]),
    ):
        assert result.p_value == 1.0
        assert result.delta == 0.0
        assert result.delta in result.interval
        assert result.effect_size is None


def test_swapping_the_systems_mirrors_the_result() -> None:
    generator = np.random.default_rng(7)
    before, after = generator.random(80), generator.random(80)
    forward, backward = compare_means(before, after), compare_means(after, before)
    assert forward.p_value == backward.p_value
    assert forward.interval.low == pytest.approx(-backward.interval.high)
    assert (forward.wins, forward.losses) == (backward.losses, backward.wins)


def test_detectable_effect_agrees_with_statsmodels_power() -> None:
    generator = np.random.default_rng(8)
    difference = generator.normal(0, 0.3, 900)
    result = compare_means(np.zeros(900), difference, n_resamples=200)
    d_z = TTestPower().solve_power(nobs=900, alpha=0.05, power=0.8)
    assert result.detectable() == pytest.approx(d_z * difference.std(ddof=1), rel=0.005)
    assert result.detectable(alpha=0.05 / 6) > result.detectable()


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_statsmodels(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(7) ** 3
    assert holm(list(p_values)) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_unpaired_input_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        compare_means([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="one shape"):
        compare_statistics(np.ones((3, 2)), np.ones((3, 1)), lambda sums: sums[:, 0])
    with pytest.raises(ValueError, match="0 and 1 only"):
        compare_rates([0.5, 1], [0, 1])
    with pytest.raises(ValueError, match="not finite"):
        compare_means([float("nan"), 1], [0, 1])
    with pytest.raises(ValueError, match="one length"):
        compare_rates([], [])


def test_false_positives_of_mcnemar_and_holm_are_nominal() -> None:
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
    assert 0.005 <= wrong / repeats <= 0.07
    assert 0.005 <= family / repeats <= 0.07


def test_coverage_of_a_difference_of_rates_is_nominal() -> None:
    generator = np.random.default_rng(10)
    repeats, n, effect = 150, 150, 0.1
    covered = 0
    for _ in range(repeats):
        chance = 0.5 + generator.uniform(-0.2, 0.2, n)
        pair = (
            (generator.random(n) < chance).astype(float),
            (generator.random(n) < chance + effect).astype(float),
        )
        covered += effect in compare_rates(*pair).interval
    assert 0.88 <= covered / repeats <= 1.0  # four standard errors of 0.95 over 150 repeats: 0.07
